//! A reader's place in a ring.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Lagged;
use crate::ring::{Event, Found, Shared};

/// One reader of a ring. Holds no events of its own.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
    next: u64,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, next: u64) -> Self {
        let newest = shared.newest.subscribe();
        Self { shared, newest, next }
    }

    /// The next event, as soon as there is one. May be dropped while waiting without losing any.
    ///
    /// # Errors
    /// [`Lagged`] once, with the count of what was dropped meanwhile; the next call goes on with
    /// the oldest event that is kept.
    pub async fn next(&mut self) -> Result<Event, Lagged> {
        loop {
            match self.shared.find(self.next) {
                Found::Event(event) => {
                    self.next += 1;
                    return Ok(event);
                }
                Found::Dropped { oldest } => {
                    let count = oldest - self.next;
                    self.next = oldest;
                    return Err(Lagged { count });
                }
                Found::NotYet => {}
            }
            let wanted = self.next;
            // The sender lives in `shared`, which we hold: waiting cannot fail.
            let _ = self.newest.wait_for(|newest| *newest >= wanted).await;
        }
    }

    /// The number that [`Subscription::next`] will yield if nothing is lost.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ring;

    fn publish(ring: &Ring, count: usize) {
        for _ in 0..count {
            ring.publish("default".parse().unwrap(), "/t", "x.Y", &b"v"[..]);
        }
    }

    #[tokio::test]
    async fn a_subscriber_sees_each_event_once_and_in_order() {
        let ring = Ring::new(4);
        publish(&ring, 1);
        let mut live = ring.subscribe(None);
        let mut seen = Vec::new();
        let read = async {
            for _ in 0..3 {
                seen.push(live.next().await.unwrap().seq);
            }
        };
        tokio::join!(read, async { publish(&ring, 3) });
        assert_eq!(seen, [2, 3, 4]);
    }

    #[tokio::test]
    async fn a_slow_subscriber_hears_how_many_it_lost_and_goes_on() {
        let ring = Ring::new(2);
        let mut slow = ring.subscribe(Some(1));
        publish(&ring, 5);
        assert_eq!(slow.next().await, Err(Lagged { count: 3 }));
        assert_eq!(slow.next().await.unwrap().seq, 4);
        assert_eq!(slow.next().await.unwrap().seq, 5);
        assert_eq!(slow.position(), 6);
    }

    #[tokio::test]
    async fn resuming_by_number_repeats_nothing() {
        let ring = Ring::new(8);
        publish(&ring, 5);
        assert_eq!(ring.subscribe(Some(4)).next().await.unwrap().seq, 4);
        let later = ring.subscribe(Some(6));
        assert_eq!(later.position(), 6);
    }

    #[tokio::test]
    async fn a_number_from_before_a_restart_gets_everything_kept() {
        let ring = Ring::new(8);
        publish(&ring, 2);
        assert_eq!(ring.subscribe(Some(900)).next().await.unwrap().seq, 1);
    }
}
