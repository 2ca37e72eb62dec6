//! The node's DistributionCheck service.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response};

use super::wire::Answer;
use crate::Distribution;

pub struct Service(pub Distribution);

#[tonic::async_trait]
impl wire::distribution_check_server::DistributionCheck for Service {
    async fn check(&self, request: Request<wire::CheckRequest>) -> Answer<wire::CheckResponse> {
        let report = berth_check::check(&self.0, request.into_inner().into()).await;
        Ok(Response::new(report.map_err(status)?.into()))
    }
}
