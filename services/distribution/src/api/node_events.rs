//! The node's NodeEvents service.

use std::pin::Pin;
use std::sync::Arc;

use berth_events::{Event, Subscription};
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
        let wanted = request.into_inner();
        let incarnation = self.journal.incarnation;
        let same_run = wanted.incarnation == 0 || wanted.incarnation == incarnation;
        let all = wanted.from_start || !same_run;
        let subscription = match wanted.from_seq {
            // The oldest that is kept; what is not kept is not missed.
            _ if all => self.journal.ring.subscribe(Some(u64::MAX)),
            0 => self.journal.ring.subscribe(None),
            from => self.journal.ring.subscribe(Some(from)),
        };
        let first = wire::NodeEvent {
            seq: subscription.position().saturating_sub(1),
            incarnation,
            ..Default::default()
        };
        let rest = stream::unfold(Some(subscription), move |open| follow(open, incarnation));
        let rest = rest.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(stream::iter([Ok(first)]).chain(rest))))
    }
}

type Step = Option<(Result<wire::NodeEvent, Status>, Option<Subscription>)>;

async fn follow(open: Option<Subscription>, incarnation: u64) -> Step {
    let mut subscription = open?;
    match subscription.next().await {
        Ok(event) => Some((Ok(to_wire(event, incarnation)), Some(subscription))),
        Err(lagged) => Some((Err(status(lagged)), None)),
    }
}

fn to_wire(event: Event, incarnation: u64) -> wire::NodeEvent {
    wire::NodeEvent {
        seq: event.seq,
        timestamp: stamp(event.timestamp),
        namespace: event.namespace.to_string(),
        topic: event.topic.into_owned(),
        event: Some(Any { type_url: event.type_url.into_owned(), value: event.value.to_vec() }),
        incarnation,
    }
}
