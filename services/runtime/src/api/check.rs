//! `berth.node.v1.RuntimeCheck`.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};

use crate::check::Runtime;

/// Serves checks.
pub(super) struct Service(pub(super) Runtime);

#[tonic::async_trait]
impl wire::runtime_check_server::RuntimeCheck for Service {
    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        let report = berth_check::check(&self.0, request.into_inner().into()).await;
        Ok(Response::new(report.map_err(status)?.into()))
    }
}
