//! The node's Collector service, of which only Pin is answered here: this service drives the rest.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use futures::stream::Empty;
use tonic::{Request, Response, Status};

use super::namespaces::name;
use super::wire::Answer;
use crate::Distribution;
use crate::gc::id::Id;

pub struct Service(pub Distribution);

fn driven() -> Status {
    Status::unimplemented("distribution drives collections itself, it answers Pin: not implemented")
}

#[tonic::async_trait]
impl wire::collector_server::Collector for Service {
    async fn pin(&self, request: Request<wire::PinRequest>) -> Answer<wire::PinResponse> {
        let wire::PinRequest { namespace, kind, key, alone } = request.into_inner();
        let id = Id::new(&name(&namespace)?, kind, key);
        self.0.collector.pin(id, alone).await.map_err(status)?;
        Ok(Response::new(wire::PinResponse {}))
    }

    async fn begin(&self, _: Request<wire::BeginRequest>) -> Answer<wire::BeginResponse> {
        Err(driven())
    }

    type NodesStream = Empty<Result<wire::Node, Status>>;

    async fn nodes(&self, _: Request<wire::NodesRequest>) -> Answer<Self::NodesStream> {
        Err(driven())
    }

    async fn sweep(&self, _: Request<wire::SweepRequest>) -> Answer<wire::SweepResponse> {
        Err(driven())
    }

    async fn clear(&self, _: Request<wire::ClearRequest>) -> Answer<wire::ClearResponse> {
        Err(driven())
    }

    async fn end(&self, _: Request<wire::EndRequest>) -> Answer<wire::EndResponse> {
        Err(driven())
    }
}
