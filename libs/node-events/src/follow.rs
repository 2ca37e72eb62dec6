//! Following a service's ring from another process: one stream without gaps, across reconnects and
//! restarts.
//!
//! Owns: how far a service was followed, and when it is asked again. Must not know: what an event means.

use std::ops::ControlFlow;
use std::time::Duration;

use berth_grpc::{Channel, NODE_MESSAGE};
use berth_proto::berth::node::v1::node_events_client::NodeEventsClient;
use berth_proto::berth::node::v1::{NodeEvent, NodeSubscribeRequest};
use tokio::time::sleep;
use tonic::{Code, Status};

/// Between two subscriptions, for a service that accepts and breaks off at once.
pub const PAUSE: Duration = Duration::from_millis(20);

/// What a follower tells.
#[derive(Debug)]
pub enum Heard {
    /// A subscription stands: what happens from now on is told.
    Subscribed,
    /// A subscription has ended, or did not come to be.
    Interrupted,
    /// Something happened.
    Event(NodeEvent),
}

/// Takes in what a follower tells.
pub trait Listener: Send {
    /// Answers whether there is still somebody to tell it. A slow one holds the service's stream back.
    fn hear(&mut self, heard: Heard) -> impl Future<Output = bool> + Send;
}

/// Follows the ring of one service.
#[derive(Debug)]
pub struct Follower {
    channel: Channel,
    service: &'static str,
    position: Position,
}

impl Follower {
    /// Begins with what happens from the first subscription on. The service is only named in the log.
    #[must_use]
    pub fn new(channel: Channel, service: &'static str) -> Self {
        Self { channel, service, position: Position::default() }
    }

    /// Begins with what happened since the last gateway was gone.
    #[must_use]
    pub fn after_predecessor(mut self, yes: bool) -> Self {
        self.position.after_predecessor = yes;
        self
    }

    /// Begins with all that the service still keeps.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.position.next = Some(0);
        self
    }

    /// Subscribes again and again, each time where it is, until nobody listens or the service answers
    /// with an error of its own, which is returned: events were lost, or it refused.
    pub async fn run(&mut self, listener: &mut impl Listener) -> Option<Status> {
        let service = self.service;
        loop {
            let ended = self.subscription(listener).await;
            // A service that was away at first is read from its start.
            self.position.next.get_or_insert(0);
            match ended {
                Ok(ControlFlow::Break(())) => return None,
                Ok(ControlFlow::Continue(())) => tracing::debug!(service, "events ended"),
                Err(status) if status.code() != Code::Unavailable => return Some(status),
                Err(status) => tracing::debug!(service, %status, "events interrupted"),
            }
            sleep(PAUSE).await;
        }
    }

    /// One subscription, to its end: the service's, or that of the listener, which breaks.
    ///
    /// # Errors
    /// What the service says: RESOURCE_EXHAUSTED when events were lost, UNAVAILABLE when it is away.
    pub async fn subscription(
        &mut self,
        listener: &mut impl Listener,
    ) -> Result<ControlFlow<()>, Status> {
        let ended = self.subscribed(listener).await;
        if !matches!(ended, Ok(ControlFlow::Break(()))) && !listener.hear(Heard::Interrupted).await
        {
            return Ok(ControlFlow::Break(()));
        }
        ended
    }

    async fn subscribed(
        &mut self,
        listener: &mut impl Listener,
    ) -> Result<ControlFlow<()>, Status> {
        // An event is as large as a client may send it, and has more around it here.
        let mut client =
            NodeEventsClient::new(self.channel.clone()).max_decoding_message_size(NODE_MESSAGE);
        let mut stream = client.subscribe(self.position.request()).await?.into_inner();
        if !listener.hear(Heard::Subscribed).await {
            return Ok(ControlFlow::Break(()));
        }
        while let Some(event) = stream.message().await? {
            if self.position.advance(&event) && !listener.hear(Heard::Event(event)).await {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

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
        self.next = Some(event.seq.saturating_add(1));
        event.event.is_some()
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
