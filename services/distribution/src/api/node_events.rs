//! The node's NodeEvents service.

use std::pin::Pin;
use std::sync::Arc;

use berth_events::{Event, Position, Start, Subscription};
use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use futures::{Stream, StreamExt, stream};
use prost_types::Any;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::events::Journal;
use super::wire::{Answer, stamp};

pub struct Service {
    pub journal: Arc<Journal>,
    /// Ends the streams, which have no end of their own.
    pub stop: CancellationToken,
}

#[tonic::async_trait]
impl wire::node_events_server::NodeEvents for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<wire::NodeEvent, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<wire::NodeSubscribeRequest>,
    ) -> Answer<Self::SubscribeStream> {
        let subscription = self.journal.ring.subscribe(start(&request.into_inner()));
        let position = subscription.position();
        let first = wire::NodeEvent {
            seq: position.seq.saturating_sub(1),
            incarnation: position.incarnation,
            ..Default::default()
        };
        let rest = stream::unfold(Some(subscription), follow);
        let rest = rest.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(stream::iter([Ok(first)]).chain(rest))))
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

type Step = Option<(Result<wire::NodeEvent, Status>, Option<Subscription>)>;

async fn follow(open: Option<Subscription>) -> Step {
    let mut subscription = open?;
    match subscription.next().await {
        Ok(event) => Some((Ok(to_wire(event)), Some(subscription))),
        Err(lagged) => Some((Err(status(lagged)), None)),
    }
}

fn to_wire(event: Event) -> wire::NodeEvent {
    wire::NodeEvent {
        seq: event.position.seq,
        timestamp: stamp(event.timestamp),
        namespace: event.namespace.to_string(),
        topic: event.topic.into_owned(),
        event: Some(Any { type_url: event.type_url.into_owned(), value: event.value.to_vec() }),
        incarnation: event.position.incarnation,
    }
}
