//! `berth.node.v1.Collector`: containers and sandboxes are roots, and say what they refer to.

use std::sync::Arc;

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::containers::Containers;
use crate::error::Error;
use crate::gate::Gate;
use crate::refs::{self, Ref};
use crate::sandboxes::Sandboxes;

/// Serves the reference graph.
pub(super) struct Service {
    pub(super) gate: Arc<Gate>,
    pub(super) containers: Containers,
    pub(super) sandboxes: Sandboxes,
}

#[tonic::async_trait]
impl wire::collector_server::Collector for Service {
    async fn begin(
        &self,
        request: Request<wire::BeginRequest>,
    ) -> Result<Response<wire::BeginResponse>, Status> {
        self.gate.begin(request.into_inner().epoch).await;
        Ok(Response::new(wire::BeginResponse { incarnation: self.gate.incarnation() }))
    }

    type NodesStream = BoxStream<'static, Result<wire::Node, Status>>;

    async fn nodes(
        &self,
        request: Request<wire::NodesRequest>,
    ) -> Result<Response<Self::NodesStream>, Status> {
        self.gate.in_epoch(request.into_inner().epoch).map_err(status)?;
        let mut nodes = Vec::new();
        let containers = self.containers.every(|namespace, container| {
            let refs = refs::of_container(&container);
            nodes.push(Ok(node(namespace, "containers", container.id, refs)));
        });
        containers.map_err(status)?;
        let sandboxes = self.sandboxes.every(|namespace, sandbox| {
            let refs = refs::of_labels(&sandbox.labels);
            nodes.push(Ok(node(namespace, "sandboxes", sandbox.id, refs)));
        });
        sandboxes.map_err(status)?;
        Ok(Response::new(Box::pin(futures::stream::iter(nodes))))
    }

    async fn sweep(
        &self,
        request: Request<wire::SweepRequest>,
    ) -> Result<Response<wire::SweepResponse>, Status> {
        let wire::SweepRequest { epoch, incarnation, .. } = request.into_inner();
        self.gate.in_epoch(epoch).map_err(status)?;
        if incarnation != self.gate.incarnation() {
            return Err(status(Error::Epoch(epoch)));
        }
        // All of this service's objects are roots: nothing of it is ever dead.
        Ok(Response::new(wire::SweepResponse::default()))
    }

    async fn clear(
        &self,
        _request: Request<wire::ClearRequest>,
    ) -> Result<Response<wire::ClearResponse>, Status> {
        // Nothing of it was dropped.
        Ok(Response::new(wire::ClearResponse {}))
    }

    async fn end(
        &self,
        request: Request<wire::EndRequest>,
    ) -> Result<Response<wire::EndResponse>, Status> {
        self.gate.end(request.into_inner().epoch);
        Ok(Response::new(wire::EndResponse {}))
    }

    async fn pin(
        &self,
        _request: Request<wire::PinRequest>,
    ) -> Result<Response<wire::PinResponse>, Status> {
        // Roots need no pin.
        Ok(Response::new(wire::PinResponse {}))
    }
}

fn node(namespace: String, kind: &str, key: String, refs: Vec<Ref>) -> wire::Node {
    let refs = refs.into_iter().map(|to| wire::Ref { kind: to.kind, key: to.key }).collect();
    wire::Node { namespace, kind: kind.to_owned(), key, root: true, refs, ..Default::default() }
}
