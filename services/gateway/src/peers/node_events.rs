//! The events of one service for one subscriber, and telling a service that a gateway is there.

use std::time::Duration;

use berth_node_events::follow::{Follower, Heard, Listener, PAUSE};
use berth_proto::berth::node::v1::NodeEvent;
use berth_proto::berth::node::v1::node_events_client::NodeEventsClient;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::upstreams::Upstream;

/// How long a new subscription waits for a service that is away before it goes on without.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Where events go.
type Events = mpsc::Sender<Result<NodeEvent, Status>>;

/// Sends the events of a service into `events` for as long as somebody receives them. Tells by
/// `subscribed` when the first subscription stands, or that the service is away.
///
/// It begins with what happened since the gateway before this one was gone, if `after_predecessor`.
///
/// Returns the status that ends the merged stream: events were lost, or the service refused.
pub async fn follow(
    upstream: Upstream,
    events: &Events,
    subscribed: oneshot::Sender<()>,
    after_predecessor: bool,
) -> Option<Status> {
    let follower = Follower::new(upstream.calls().clone(), upstream.name());
    let follower = follower.after_predecessor(after_predecessor);
    let (mut follower, subscribed) = match upstream.calls().is_there(FIRST_WAIT).await {
        true => (follower, Some(subscribed)),
        false => {
            // A service that is away when the subscription begins is not waited for: what it does after
            // it has come back is sent from the start.
            drop(subscribed);
            (follower.from_start(), None)
        }
    };
    let mut subscriber = Subscriber { events, subscribed };
    tokio::select! {
        () = events.closed() => None,
        status = follower.run(&mut subscriber) => status,
    }
}

struct Subscriber<'a> {
    events: &'a Events,
    subscribed: Option<oneshot::Sender<()>>,
}

impl Listener for Subscriber<'_> {
    async fn hear(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Subscribed | Heard::Interrupted => {
                self.subscribed = None;
                true
            }
            Heard::Event(event) => self.events.send(Ok(event)).await.is_ok(),
        }
    }
}

/// Has a service know that a gateway is there, and when it is gone.
pub async fn attend(upstream: Upstream) {
    loop {
        let mut client = NodeEventsClient::new(upstream.calls().clone());
        let ended = match client.attend(()).await {
            Ok(open) => drained(open.into_inner()).await,
            Err(status) => status,
        };
        let service = upstream.name();
        if ended.code() == Code::Unimplemented {
            return tracing::warn!(service, %ended, "tell that a gateway is there");
        }
        tracing::debug!(service, %ended, "tell that a gateway is there");
        sleep(PAUSE).await;
    }
}

/// Why a stream has ended.
async fn drained(mut open: tonic::Streaming<()>) -> Status {
    loop {
        match open.message().await {
            Ok(Some(())) => {}
            Ok(None) => return Status::unavailable("the service ends"),
            Err(status) => return status,
        }
    }
}
