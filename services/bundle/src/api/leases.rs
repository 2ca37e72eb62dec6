//! berth.node.v1.LeaseMember: what leases hold of bundle's.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};
use wire::lease_member_server::LeaseMember;

use super::Context;
use crate::snapshots::LeaseRow;

#[tonic::async_trait]
impl LeaseMember for Context {
    async fn add(
        &self,
        request: Request<wire::AddLeaseResourceRequest>,
    ) -> Result<Response<wire::AddLeaseResourceResponse>, Status> {
        let r = request.into_inner();
        let row = LeaseRow { incarnation: r.incarnation, kind: r.kind, id: r.id };
        self.snapshots.add_hold(r.namespace, r.lease, row).await.map_err(status)?;
        Ok(Response::new(wire::AddLeaseResourceResponse {}))
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveLeaseResourceRequest>,
    ) -> Result<Response<wire::RemoveLeaseResourceResponse>, Status> {
        let r = request.into_inner();
        let row = LeaseRow { incarnation: r.incarnation, kind: r.kind, id: r.id };
        self.snapshots.remove_hold(r.namespace, r.lease, row).await.map_err(status)?;
        Ok(Response::new(wire::RemoveLeaseResourceResponse {}))
    }

    async fn list(
        &self,
        request: Request<wire::ListLeaseResourcesRequest>,
    ) -> Result<Response<wire::ListLeaseResourcesResponse>, Status> {
        let r = request.into_inner();
        let rows = self.snapshots.holds(&r.namespace, &r.lease).map_err(status)?;
        // Activated mounts are held, but are none of the resources that clients know.
        let rows = rows.into_iter().filter(|row| row.incarnation == r.incarnation);
        let rows = rows.filter(|row| row.kind != crate::mounts::KIND);
        let resources = rows.map(|row| wire::LeaseResource { kind: row.kind, id: row.id });
        let resources = resources.collect();
        Ok(Response::new(wire::ListLeaseResourcesResponse { resources }))
    }
}
