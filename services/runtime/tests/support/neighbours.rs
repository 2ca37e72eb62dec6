//! A stand-in for the services that the one under test asks.

use std::sync::{Arc, Mutex};

use berth_proto::berth::node::v1 as node;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What the stand-in was told.
#[derive(Clone, Default)]
pub struct Neighbours {
    pub registered: Arc<Mutex<Vec<String>>>,
    pub pinned: Arc<Mutex<Vec<(String, String)>>>,
    pub reported: Arc<Mutex<Vec<node::ReportRequest>>>,
}

impl Neighbours {
    /// What it serves.
    pub fn routes(&self) -> Routes {
        Routes::new(node::namespaces_server::NamespacesServer::new(self.clone()))
            .add_service(node::collector_server::CollectorServer::new(self.clone()))
            .add_service(node::lease_directory_server::LeaseDirectoryServer::new(self.clone()))
            .add_service(node::collection_server::CollectionServer::new(self.clone()))
    }
}

/// Every lease is there but those whose name begins with "gone".
#[tonic::async_trait]
impl node::lease_directory_server::LeaseDirectory for Neighbours {
    async fn resolve(
        &self,
        request: Request<node::ResolveLeaseRequest>,
    ) -> Result<Response<node::ResolveLeaseResponse>, Status> {
        let lease = request.into_inner().lease;
        if lease.starts_with("gone") {
            return Err(Status::not_found(format!("lease {lease:?}: not found")));
        }
        Ok(Response::new(node::ResolveLeaseResponse { incarnation: 1 }))
    }
}

#[tonic::async_trait]
impl node::namespaces_server::Namespaces for Neighbours {
    async fn register(
        &self,
        request: Request<node::RegisterNamespaceRequest>,
    ) -> Result<Response<node::RegisterNamespaceResponse>, Status> {
        self.registered.lock().unwrap().push(request.into_inner().namespace);
        Ok(Response::new(node::RegisterNamespaceResponse {}))
    }
}

#[tonic::async_trait]
impl node::collection_server::Collection for Neighbours {
    async fn collect(
        &self,
        _: Request<node::CollectRequest>,
    ) -> Result<Response<node::CollectResponse>, Status> {
        unasked()
    }

    async fn report(
        &self,
        request: Request<node::ReportRequest>,
    ) -> Result<Response<node::ReportResponse>, Status> {
        self.reported.lock().unwrap().push(request.into_inner());
        Ok(Response::new(node::ReportResponse {}))
    }
}

/// What nobody asks of the stand-in.
fn unasked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("nobody asks this here"))
}

#[tonic::async_trait]
impl node::collector_server::Collector for Neighbours {
    type NodesStream = futures::stream::Empty<Result<node::Node, Status>>;

    async fn begin(
        &self,
        _: Request<node::BeginRequest>,
    ) -> Result<Response<node::BeginResponse>, Status> {
        unasked()
    }

    async fn nodes(
        &self,
        _: Request<node::NodesRequest>,
    ) -> Result<Response<Self::NodesStream>, Status> {
        unasked()
    }

    async fn sweep(
        &self,
        _: Request<node::SweepRequest>,
    ) -> Result<Response<node::SweepResponse>, Status> {
        unasked()
    }

    async fn clear(
        &self,
        _: Request<node::ClearRequest>,
    ) -> Result<Response<node::ClearResponse>, Status> {
        unasked()
    }

    async fn end(
        &self,
        _: Request<node::EndRequest>,
    ) -> Result<Response<node::EndResponse>, Status> {
        unasked()
    }

    async fn pin(
        &self,
        request: Request<node::PinRequest>,
    ) -> Result<Response<node::PinResponse>, Status> {
        let pin = request.into_inner();
        self.pinned.lock().unwrap().push((pin.kind, pin.key));
        Ok(Response::new(node::PinResponse {}))
    }
}
