//! containerd.services.diff.v1.Diff: layers applied to mounts, and made from them.

use berth_grpc::{lease, status};
use berth_proto::containerd::services::diff::v1 as wire;
use berth_proto::containerd::types;
use prost::Message;
use tonic::{Request, Response, Status};
use wire::diff_server::Diff;

use super::Context;
use super::convert::{labels_in, mounts_in};
use crate::differs::{Apply, Compare, Descriptor};

#[tonic::async_trait]
impl Diff for Context {
    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let namespace = berth_grpc::namespace(&request)?;
        let r = request.into_inner();
        let layer = r.diff.ok_or_else(|| required("diff descriptor"))?;
        let asked = Apply {
            namespace,
            layer: descriptor_in(layer)?,
            mounts: mounts_in(r.mounts),
            payloads: r.payloads.into_iter().map(|(id, any)| (id, any.encode_to_vec())).collect(),
            sync_fs: r.sync_fs,
        };
        let applied = self.differs.apply(&asked).await.map_err(status)?;
        Ok(Response::new(wire::ApplyResponse { applied: Some(descriptor_out(applied)) }))
    }

    async fn diff(
        &self,
        request: Request<wire::DiffRequest>,
    ) -> Result<Response<wire::DiffResponse>, Status> {
        let namespace = berth_grpc::namespace(&request)?;
        let lease = lease(&request);
        let r = request.into_inner();
        let asked = Compare {
            namespace,
            lease,
            left: mounts_in(r.left),
            right: mounts_in(r.right),
            media_type: r.media_type,
            reference: r.r#ref,
            labels: labels_in(r.labels),
            latest: berth_grpc::time::from_wire(r.source_date_epoch.as_ref()),
        };
        let made = self.differs.compare(&asked).await.map_err(status)?;
        Ok(Response::new(wire::DiffResponse { diff: Some(descriptor_out(made)) }))
    }
}

fn required(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is required: invalid argument"))
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn descriptor_in(descriptor: types::Descriptor) -> Result<Descriptor, Status> {
    let types::Descriptor { media_type, digest, size, annotations } = descriptor;
    let digest = digest.parse().map_err(|error: berth_ids::Error| status(error))?;
    Ok(Descriptor { media_type, digest, size, annotations })
}

fn descriptor_out(descriptor: Descriptor) -> types::Descriptor {
    let Descriptor { media_type, digest, size, annotations } = descriptor;
    types::Descriptor { media_type, digest: digest.to_string(), size, annotations }
}
