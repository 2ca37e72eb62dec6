//! The node's DistributionRecent service.

use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response};

use super::wire::Answer;

pub struct Service;

#[tonic::async_trait]
impl wire::distribution_recent_server::DistributionRecent for Service {
    async fn list(&self, _: Request<wire::RecentRequest>) -> Answer<wire::RecentResponse> {
        Ok(Response::new(berth_recent::answer()))
    }
}
