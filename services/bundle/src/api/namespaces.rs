//! berth.node.v1.NamespaceMember: what distribution asks before it deletes a namespace.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};
use wire::namespace_member_server::NamespaceMember;

use super::Context;

#[tonic::async_trait]
impl NamespaceMember for Context {
    async fn fence(
        &self,
        request: Request<wire::FenceRequest>,
    ) -> Result<Response<wire::FenceResponse>, Status> {
        let r = request.into_inner();
        self.distribution.forget_namespace(&r.namespace);
        self.snapshots.fence(&r.namespace, r.up).await.map_err(status)?;
        Ok(Response::new(wire::FenceResponse {}))
    }

    async fn usage(
        &self,
        request: Request<wire::NamespaceUsageRequest>,
    ) -> Result<Response<wire::NamespaceUsageResponse>, Status> {
        let counts = self.snapshots.counts(&request.into_inner().namespace).map_err(status)?;
        let counts = counts.into_iter().collect();
        Ok(Response::new(wire::NamespaceUsageResponse { counts }))
    }
}
