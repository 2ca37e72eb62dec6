//! The node's Collection service: a collection on request.

use berth_epochs::Counts;
use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response};

use super::wire::Answer;
use crate::gc::collect::Collector;

pub struct Service(pub Collector);

#[tonic::async_trait]
impl wire::collection_server::Collection for Service {
    async fn collect(
        &self,
        _request: Request<wire::CollectRequest>,
    ) -> Answer<wire::CollectResponse> {
        let stats = self.0.collect().await.map_err(status)?;
        Ok(Response::new(wire::CollectResponse {
            dropped: stats.dropped.into_iter().collect(),
            bytes_freed: stats.bytes,
            elapsed_ms: u64::try_from(stats.elapsed.as_millis()).unwrap_or(u64::MAX),
        }))
    }

    async fn report(&self, request: Request<wire::ReportRequest>) -> Answer<wire::ReportResponse> {
        let wire::ReportRequest { changes, deletions } = request.into_inner();
        self.0.reported(Counts { changes, deletions });
        Ok(Response::new(wire::ReportResponse {}))
    }
}
