//! containerd.services.diff.v1.Diff: layers applied to mounts, and made from them.

use berth_grpc::{lease, status};
use berth_proto::containerd::services::diff::v1 as wire;
use berth_proto::containerd::types::Descriptor;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};
use wire::diff_server::Diff;

use super::Context;
use super::convert::{labels_in, mounts_in};
use super::layers::closing;
use crate::Error;
use crate::diff::{self, Apply, Making, temporary_name};
use crate::layer::TAR;
use crate::peers::Finished;

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
        let chain = self.processors.chain(&layer.digest, &layer.media_type).map_err(status)?;
        let payloads = r.payloads.into_iter().map(|(id, any)| (id, any.encode_to_vec())).collect();
        let _permit = self.unpacks.acquire().await.map_err(|_| closing())?;
        // Whether or not `sync_fs` asks for it: what is applied is durable.
        let apply = Apply {
            layer: layer.digest,
            mounts: mounts_in(r.mounts),
            temporary: self.mounts.clone(),
            roots: self.activations.roots(),
            limits: self.limits.clone(),
        };
        let name = apply.layer.clone();
        let applied = diff::apply(apply, chain, payloads, input).await;
        let applied = applied.map_err(|e| status(e.of_layer(&name)))?;
        let applied = Descriptor {
            media_type: TAR.to_owned(),
            digest: applied.diff_id.to_string(),
            size: i64::try_from(applied.size).unwrap_or(i64::MAX),
            annotations: Default::default(),
        };
        Ok(Response::new(wire::ApplyResponse { applied: Some(applied) }))
    }

    async fn diff(
        &self,
        request: Request<wire::DiffRequest>,
    ) -> Result<Response<wire::DiffResponse>, Status> {
        let namespace = berth_grpc::namespace(&request)?;
        let lease = lease(&request);
        self.distribution.register(&namespace).await.map_err(status)?;
        let r = request.into_inner();
        let _permit = self.unpacks.acquire().await.map_err(|_| closing())?;
        let own = r.r#ref.is_empty();
        let reference = if own { format!("diff-{}", temporary_name()) } else { r.r#ref };
        let making = Making {
            left: mounts_in(r.left),
            right: mounts_in(r.right),
            media_type: r.media_type,
            labels: labels_in(r.labels),
            latest: berth_grpc::time::from_wire(r.source_date_epoch.as_ref()),
            temporary: self.mounts.clone(),
            roots: self.activations.roots(),
        };
        let (chunks, receiver) = mpsc::channel(2);
        let (tell, told) = oneshot::channel();
        let make = async {
            let made = diff::make(making, chunks).await?;
            let (digest, size, labels) = (made.digest.clone(), made.size, made.labels.clone());
            // If nobody listens the writer has failed, and tells why.
            let _ = tell.send(Finished { digest, size, labels });
            Ok::<_, Error>(made)
        };
        let writer = self.distribution.writer(&namespace, lease);
        let write = writer.write(reference.clone(), receiver, told);
        let (made, written) = tokio::join!(make, write);
        if own && (made.is_err() || written.is_err()) {
            writer.abort(reference).await;
        }
        let written = written.map_err(status);
        let made = match made {
            // What stopped the making is then the writer's failure, or its own.
            Err(error) => return Err(written.err().unwrap_or_else(|| status(error))),
            Ok(made) => written.map(|()| made)?,
        };
        let diff = Descriptor {
            media_type: made.media_type,
            digest: made.digest.to_string(),
            size: i64::try_from(made.size).unwrap_or(i64::MAX),
            annotations: Default::default(),
        };
        Ok(Response::new(wire::DiffResponse { diff: Some(diff) }))
    }
}

fn required(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is required: invalid argument"))
}
