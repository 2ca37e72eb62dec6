//! `berth.node.v1.NodeEvents`: this service's ring, for the gateway.

use berth_events::{Event, Ring, Subscription};
use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::wire::time;

/// Serves the ring.
pub(super) struct Service {
    pub(super) ring: Ring,
    pub(super) incarnation: u64,
    /// Ends the streams, which have no end of their own.
    pub(super) stop: CancellationToken,
}

#[tonic::async_trait]
impl wire::node_events_server::NodeEvents for Service {
    type SubscribeStream = BoxStream<'static, Result<wire::NodeEvent, Status>>;

    async fn subscribe(
        &self,
        request: Request<wire::NodeSubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let incarnation = self.incarnation;
        let other_run = request.incarnation != 0 && request.incarnation != incarnation;
        // A number that no ring reaches means: all that is kept.
        let from = match (request.from_start || other_run, request.from_seq) {
            (true, _) => Some(u64::MAX),
            (false, 0) => None,
            (false, seq) => Some(seq),
        };
        let subscription = self.ring.subscribe(from);
        let before = subscription.position().saturating_sub(1);
        let first = wire::NodeEvent { seq: before, incarnation, ..Default::default() };
        let rest = futures::stream::unfold(Some(subscription), move |subscription| {
            next(subscription, incarnation)
        });
        let first = futures::stream::once(std::future::ready(Ok(first)));
        let rest = rest.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(first.chain(rest))))
    }
}

type Next = Option<(Result<wire::NodeEvent, Status>, Option<Subscription>)>;

/// The next event; after a loss the stream ends with its count.
async fn next(subscription: Option<Subscription>, incarnation: u64) -> Next {
    let mut subscription = subscription?;
    match subscription.next().await {
        Ok(event) => Some((Ok(to_wire(event, incarnation)), Some(subscription))),
        Err(lagged) => Some((Err(status(lagged)), None)),
    }
}

fn to_wire(event: Event, incarnation: u64) -> wire::NodeEvent {
    let value = event.value.to_vec();
    wire::NodeEvent {
        seq: event.seq,
        timestamp: time(event.timestamp),
        namespace: event.namespace.to_string(),
        topic: event.topic.into_owned(),
        event: Some(prost_types::Any { type_url: event.type_url.into_owned(), value }),
        incarnation,
    }
}
