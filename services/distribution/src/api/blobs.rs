//! The node's Blobs service: open files instead of copies.

use berth_fdpass::FdServer;
use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response};

use super::namespaces::name;
use super::wire::{Answer, digest};
use crate::content::Content;

pub struct Service {
    pub content: Content,
    pub descriptors: FdServer,
}

#[tonic::async_trait]
impl wire::blobs_server::Blobs for Service {
    async fn open(
        &self,
        request: Request<wire::OpenBlobRequest>,
    ) -> Answer<wire::OpenBlobResponse> {
        let wanted = request.into_inner();
        let digest = digest(&wanted.digest)?;
        let namespace = name(&wanted.namespace)?;
        let (file, size) = self.content.open(&namespace, &digest).await.map_err(status)?;
        let token = self.descriptors.offer(file.into()).map_err(status)?;
        Ok(Response::new(wire::OpenBlobResponse { token: token.as_str().to_owned(), size }))
    }
}
