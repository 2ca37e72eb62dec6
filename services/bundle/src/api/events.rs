//! What happened to snapshots, as containerd's events, and the stream of them.

use std::pin::Pin;
use std::sync::Arc;

use berth_events::{Event, Position, Ring, Start};
use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use berth_proto::containerd::events as containerd;
use berth_proto::pack;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wire::node_events_server::NodeEvents;

use super::Context;
use crate::snapshots::{Change, Listener};

type Events = Pin<Box<dyn Stream<Item = Result<wire::NodeEvent, Status>> + Send>>;

/// Publishes every change into `ring`.
#[must_use]
pub fn listener(ring: Ring) -> Listener {
    Arc::new(move |namespace, snapshotter, change| {
        let snapshotter = snapshotter.to_owned();
        let (topic, any) = match change {
            Change::Prepared { key, parent } => (
                "/snapshot/prepare",
                pack(&containerd::SnapshotPrepare { key, parent, snapshotter }),
            ),
            Change::Committed { key, name } => {
                ("/snapshot/commit", pack(&containerd::SnapshotCommit { key, name, snapshotter }))
            }
            Change::Removed { key } => {
                ("/snapshot/remove", pack(&containerd::SnapshotRemove { key, snapshotter }))
            }
        };
        ring.publish(namespace.clone(), topic, any.type_url, any.value);
    })
}

#[tonic::async_trait]
impl NodeEvents for Context {
    type SubscribeStream = Events;

    async fn subscribe(
        &self,
        request: Request<wire::NodeSubscribeRequest>,
    ) -> Result<Response<Events>, Status> {
        let subscription = self.ring.subscribe(start(&request.into_inner()));
        let position = subscription.position();
        let first = wire::NodeEvent {
            seq: position.seq.saturating_sub(1),
            incarnation: position.incarnation,
            ..Default::default()
        };
        let rest = futures::stream::unfold(Some(subscription), |subscription| async move {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(event) => Some((Ok(event_out(event)), Some(subscription))),
                // The client subscribes again; what was lost it cannot get.
                Err(lagged) => Some((Err(status(lagged)), None)),
            }
        });
        let stop = self.tasks.token().cancelled_owned();
        let rest = futures::StreamExt::take_until(rest, stop);
        let events = tokio_stream::StreamExt::chain(tokio_stream::once(Ok(first)), rest);
        Ok(Response::new(Box::pin(events)))
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

fn event_out(event: Event) -> wire::NodeEvent {
    wire::NodeEvent {
        seq: event.position.seq,
        timestamp: Some(berth_grpc::time::to_wire(event.timestamp)),
        namespace: event.namespace.to_string(),
        topic: event.topic.into_owned(),
        event: Some(prost_types::Any {
            type_url: event.type_url.into_owned(),
            value: event.value.into(),
        }),
        incarnation: event.position.incarnation,
    }
}
