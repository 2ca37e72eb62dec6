//! The events of one service as one stream without gaps, across reconnects and restarts.

use std::time::Duration;

use berth_grpc::NODE_MESSAGE;
use berth_proto::berth::node::v1::node_events_client::NodeEventsClient;
use berth_proto::berth::node::v1::{NodeEvent, NodeSubscribeRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::upstreams::Upstream;

/// How long a new subscription waits for a service that is away before it goes on without.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Between two subscriptions, for a service that accepts and breaks off at once.
const PAUSE: Duration = Duration::from_millis(20);

/// Where events go.
type Events = mpsc::Sender<Result<NodeEvent, Status>>;

/// How far a service was followed.
#[derive(Debug, Default)]
struct Position {
    /// The next event wanted; `None` before the first subscription.
    next: Option<u64>,
    /// The run that `next` counts in. A new run begins with what is left of earlier ones.
    incarnation: u64,
    /// The first subscription begins where the gateway before this one was gone.
    after_predecessor: bool,
}

impl Position {
    fn request(&self) -> NodeSubscribeRequest {
        NodeSubscribeRequest {
            from_seq: self.next.unwrap_or(0),
            // All of it, if nothing was seen of a service that was there before us.
            from_start: self.next == Some(0),
            incarnation: self.incarnation,
            after_predecessor: self.after_predecessor && self.next.is_none(),
        }
    }

    /// Notes an event and tells whether it is new.
    fn advance(&mut self, event: &NodeEvent) -> bool {
        let same_run = event.incarnation == self.incarnation;
        if same_run && event.event.is_some() && self.next.is_some_and(|next| event.seq < next) {
            return false;
        }
        self.incarnation = event.incarnation;
        self.next = Some(event.seq + 1);
        event.event.is_some()
    }
}

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
    let position = Position { after_predecessor, ..Position::default() };
    let mut follower = Follower { upstream, position, subscribed: None };
    if follower.upstream.calls().is_there(FIRST_WAIT).await {
        follower.subscribed = Some(subscribed);
    } else {
        // A service that is away when the subscription begins is not waited for: what it does after
        // it has come back is sent from the start.
        drop(subscribed);
        follower.position.next = Some(0);
    }
    tokio::select! {
        () = events.closed() => None,
        status = follower.run(events) => Some(status),
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

struct Follower {
    upstream: Upstream,
    position: Position,
    subscribed: Option<oneshot::Sender<()>>,
}

impl Follower {
    /// Subscribes again and again, until the service answers with an error of its own.
    async fn run(&mut self, events: &Events) -> Status {
        loop {
            let ended = self.subscription(events).await;
            drop(self.subscribed.take());
            self.position.next.get_or_insert(0);
            let service = self.upstream.name();
            match ended {
                Err(status) if status.code() != Code::Unavailable => return status,
                Err(status) => tracing::debug!(service, %status, "events interrupted"),
                Ok(()) => tracing::debug!(service, "events ended"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn subscription(&mut self, events: &Events) -> Result<(), Status> {
        // An event is as large as a client may send it, and has more around it here.
        let mut client = NodeEventsClient::new(self.upstream.calls().clone())
            .max_decoding_message_size(NODE_MESSAGE);
        let mut stream = client.subscribe(self.position.request()).await?.into_inner();
        drop(self.subscribed.take());
        while let Some(event) = stream.message().await? {
            // If nobody receives any more, the caller notices and drops us.
            if self.position.advance(&event) && events.send(Ok(event)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, incarnation: u64) -> NodeEvent {
        let event = Some(prost_types::Any::default());
        NodeEvent { seq, incarnation, event, ..NodeEvent::default() }
    }

    #[test]
    fn a_marker_sets_the_position_without_being_sent() {
        let mut position = Position::default();
        assert!(!position.advance(&NodeEvent { event: None, ..event(7, 1) }));
        assert_eq!(position.request().from_seq, 8);
        assert!(position.advance(&event(8, 1)));
    }

    #[test]
    fn what_was_seen_is_not_sent_again_but_another_run_is() {
        let mut position = Position::default();
        assert!(position.advance(&event(7, 1)));
        assert!(!position.advance(&event(7, 1)));
        assert!(position.advance(&event(1, 2)));
        assert_eq!((position.request().from_seq, position.request().incarnation), (2, 2));
    }

    #[test]
    fn an_earlier_runs_rest_is_sent_before_what_the_new_run_tells() {
        let mut position = Position::default();
        assert!(position.advance(&event(7, 1)));
        assert!(!position.advance(&NodeEvent { event: None, ..event(7, 1) }));
        assert!(position.advance(&event(9, 1)));
        assert_eq!((position.request().from_seq, position.request().incarnation), (10, 1));
        assert!(position.advance(&event(1, 2)));
        assert_eq!((position.request().from_seq, position.request().incarnation), (2, 2));
    }

    #[test]
    fn a_service_that_was_away_at_first_is_read_from_its_start() {
        let mut position = Position::default();
        assert!(!position.request().from_start);
        position.next.get_or_insert(0);
        assert!(position.request().from_start);
    }

    #[test]
    fn only_the_first_subscription_begins_where_another_gateway_was_gone() {
        let mut position = Position { after_predecessor: true, ..Position::default() };
        assert!(position.request().after_predecessor);
        position.advance(&NodeEvent { event: None, ..event(7, 1) });
        assert_eq!((position.request().after_predecessor, position.request().from_seq), (false, 8));
    }
}
