//! `berth.node.v1.NodeEvents`: this service's ring, for the gateway.

use berth_events::{Event, Position, Ring, Start, Subscription};
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
        let subscription = self.ring.subscribe(start(&request.into_inner()));
        let position = subscription.position();
        let first = wire::NodeEvent {
            seq: position.seq.saturating_sub(1),
            incarnation: position.incarnation,
            ..Default::default()
        };
        let first = futures::stream::once(std::future::ready(Ok(first)));
        let rest = futures::stream::unfold(Some(subscription), next);
        let rest = rest.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(first.chain(rest))))
    }
}

/// Where the request says to start.
fn start(request: &wire::NodeSubscribeRequest) -> Start {
    let (seq, incarnation) = (request.from_seq, request.incarnation);
    match (request.from_start, seq) {
        (true, _) => Start::Oldest,
        (false, 0) => Start::Now,
        (false, _) => Start::At(Position { incarnation, seq }),
    }
}

type Next = Option<(Result<wire::NodeEvent, Status>, Option<Subscription>)>;

/// The next event; after a loss the stream ends with its count.
async fn next(subscription: Option<Subscription>) -> Next {
    let mut subscription = subscription?;
    match subscription.next().await {
        Ok(event) => Some((Ok(to_wire(event)), Some(subscription))),
        Err(lagged) => Some((Err(status(lagged)), None)),
    }
}

fn to_wire(event: Event) -> wire::NodeEvent {
    let value = event.value.to_vec();
    wire::NodeEvent {
        seq: event.position.seq,
        timestamp: time(event.timestamp),
        namespace: event.namespace.to_string(),
        topic: event.topic.into_owned(),
        event: Some(prost_types::Any { type_url: event.type_url.into_owned(), value }),
        incarnation: event.position.incarnation,
    }
}
