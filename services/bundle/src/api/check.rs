//! berth.node.v1.BundleCheck.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};
use wire::bundle_check_server::BundleCheck;

use super::Context;
use crate::check::Bundle;

#[tonic::async_trait]
impl BundleCheck for Context {
    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        let bundle = Bundle { snapshots: &self.snapshots, activations: &self.activations };
        let report = berth_check::check(&bundle, request.into_inner().into()).await;
        Ok(Response::new(report.map_err(status)?.into()))
    }
}
