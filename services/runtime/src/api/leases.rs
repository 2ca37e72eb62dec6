//! `berth.node.v1.LeaseMember`. containerd's leases hold no containers and no sandboxes: those
//! live until they are deleted.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};

use crate::error::Error;

/// Serves leases, of which there is nothing here.
pub(super) struct Service;

#[tonic::async_trait]
impl wire::lease_member_server::LeaseMember for Service {
    async fn add(
        &self,
        request: Request<wire::AddLeaseResourceRequest>,
    ) -> Result<Response<wire::AddLeaseResourceResponse>, Status> {
        let kind = request.into_inner().kind;
        Err(status(Error::Invalid(format!("resource type {kind:?} cannot be held by a lease"))))
    }

    async fn remove(
        &self,
        _request: Request<wire::RemoveLeaseResourceRequest>,
    ) -> Result<Response<wire::RemoveLeaseResourceResponse>, Status> {
        Ok(Response::new(wire::RemoveLeaseResourceResponse {}))
    }

    async fn list(
        &self,
        _request: Request<wire::ListLeaseResourcesRequest>,
    ) -> Result<Response<wire::ListLeaseResourcesResponse>, Status> {
        Ok(Response::new(wire::ListLeaseResourcesResponse::default()))
    }
}
