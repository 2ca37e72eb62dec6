//! `berth.node.v1.RuntimeRecent`.

use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};

/// Serves what was done to tasks of late.
pub(super) struct Service;

#[tonic::async_trait]
impl wire::runtime_recent_server::RuntimeRecent for Service {
    async fn list(
        &self,
        _: Request<wire::RecentRequest>,
    ) -> Result<Response<wire::RecentResponse>, Status> {
        Ok(Response::new(berth_recent::answer()))
    }
}
