//! The node's Namespaces service: other services register what they are about to use.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response};

use super::namespaces::name;
use super::wire::Answer;
use crate::namespaces::Namespaces;

pub struct Service(pub Namespaces);

#[tonic::async_trait]
impl wire::namespaces_server::Namespaces for Service {
    async fn register(
        &self,
        request: Request<wire::RegisterNamespaceRequest>,
    ) -> Answer<wire::RegisterNamespaceResponse> {
        self.0.register(&name(&request.get_ref().namespace)?).await.map_err(status)?;
        Ok(Response::new(wire::RegisterNamespaceResponse {}))
    }
}
