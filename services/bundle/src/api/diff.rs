//! containerd.services.diff.v1.Diff: layers applied to mounts, and made from them.

use berth_grpc::status;
use berth_proto::containerd::services::diff::v1 as wire;
use berth_proto::containerd::types::Descriptor;
use tonic::{Request, Response, Status};
use wire::diff_server::Diff;

use super::Context;
use super::convert::mounts_in;
use super::layers::closing;
use crate::diff::{self, Apply};

/// The media type of a layer that is not compressed.
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

#[tonic::async_trait]
impl Diff for Context {
    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let namespace = berth_grpc::namespace(&request)?;
        let r = request.into_inner();
        let layer = r.diff.ok_or_else(|| required("diff descriptor"))?;
        let digest = layer.digest.parse().map_err(|error: berth_ids::Error| status(error))?;
        let input = self.distribution.open(&namespace, &digest).await.map_err(status)?;
        let _permit = self.unpacks.acquire().await.map_err(|_| closing())?;
        let apply = Apply {
            layer: layer.digest,
            media_type: layer.media_type,
            mounts: mounts_in(r.mounts),
            temporary: self.mounts.clone(),
            limits: self.limits.clone(),
        };
        let applied = diff::apply(apply, input).await.map_err(status)?;
        let applied = Descriptor {
            media_type: TAR.to_owned(),
            digest: applied.diff_id.to_string(),
            size: i64::try_from(applied.size).unwrap_or(i64::MAX),
            annotations: layer.annotations,
        };
        Ok(Response::new(wire::ApplyResponse { applied: Some(applied) }))
    }

    async fn diff(
        &self,
        request: Request<wire::DiffRequest>,
    ) -> Result<Response<wire::DiffResponse>, Status> {
        let media_type = request.into_inner().media_type;
        Err(Status::unimplemented(format!(
            "make a layer of media type {media_type:?} from mounts: not implemented"
        )))
    }
}

fn required(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is required: invalid argument"))
}
