//! A reader's place in a ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::ring::{Event, Found, Shared};
use crate::{Lagged, Position};

/// One reader of a ring. Holds no events of its own.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
    next: Position,
    /// The same for whoever looks after the ring.
    at: Arc<AtomicU64>,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, next: Position, at: Arc<AtomicU64>) -> Self {
        let newest = shared.newest.subscribe();
        Self { shared, newest, next, at }
    }

    fn go_on(&mut self, next: Position) {
        self.next = next;
        self.at.store(self.shared.own_seq(next), Ordering::Relaxed);
    }

    /// The next event, as soon as there is one. May be dropped while waiting without losing any.
    ///
    /// # Errors
    /// [`Lagged`] once, with the count of what was dropped meanwhile; the next call goes on with
    /// the oldest event that is kept.
    pub async fn next(&mut self) -> Result<Event, Lagged> {
        loop {
            let wanted = match self.shared.find(self.next) {
                Found::Event(event) => {
                    self.go_on(event.position.next());
                    return Ok(event);
                }
                Found::Dropped { count, oldest } => {
                    self.go_on(oldest);
                    self.shared.lost.fetch_add(count, Ordering::Relaxed);
                    return Err(Lagged { count });
                }
                Found::NotYet(wanted) => wanted,
            };
            // The sender lives in `shared`, which we hold: waiting cannot fail.
            let _ = self.newest.wait_for(|newest| *newest >= wanted).await;
        }
    }

    /// Where the reader is: nothing before it will be yielded, and nothing from it on was.
    #[must_use]
    pub fn position(&self) -> Position {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    use crate::{Ring, Standing, Start};

    fn publish(ring: &Ring, count: usize) {
        for _ in 0..count {
            ring.publish("default".parse().unwrap(), "/t", "x.Y", &b"v"[..]);
        }
    }

    /// A run that told nothing yet, and was given what earlier ones told.
    fn after(capacity: usize, earlier: &[(u64, u64)]) -> Ring {
        let ring = Ring::new(capacity);
        for (incarnation, seq) in earlier.iter().copied() {
            ring.recall(Event {
                position: Position { incarnation, seq },
                timestamp: SystemTime::UNIX_EPOCH,
                namespace: "default".parse().unwrap(),
                topic: "/t".into(),
                type_url: "x.Y".into(),
                value: Bytes::new(),
            });
        }
        ring
    }

    fn at(ring: &Ring, seq: u64) -> Start {
        Start::At(Position { incarnation: ring.incarnation(), seq })
    }

    fn from(incarnation: u64, seq: u64) -> Start {
        Start::At(Position { incarnation, seq })
    }

    /// What is there, with the numbers of earlier runs and 0 for this one.
    async fn read(ring: &Ring, mut subscription: Subscription, count: usize) -> Vec<(u64, u64)> {
        let mut read = Vec::new();
        for _ in 0..count {
            let Position { incarnation, seq } = subscription.next().await.unwrap().position;
            read.push((if incarnation == ring.incarnation() { 0 } else { incarnation }, seq));
        }
        read
    }

    #[tokio::test]
    async fn a_subscriber_sees_each_event_once_and_in_order() {
        let ring = Ring::new(4);
        publish(&ring, 1);
        let mut live = ring.subscribe(Start::Now);
        let mut seen = Vec::new();
        let read = async {
            for _ in 0..3 {
                seen.push(live.next().await.unwrap().position.seq);
            }
        };
        tokio::join!(read, async { publish(&ring, 3) });
        assert_eq!(seen, [2, 3, 4]);
    }

    #[tokio::test]
    async fn a_slow_subscriber_hears_how_many_it_lost_and_goes_on() {
        let ring = Ring::new(2);
        let mut slow = ring.subscribe(at(&ring, 1));
        publish(&ring, 5);
        assert_eq!(slow.next().await, Err(Lagged { count: 3 }));
        assert_eq!(slow.next().await.unwrap().position.seq, 4);
        assert_eq!(slow.next().await.unwrap().position.seq, 5);
        assert_eq!(at(&ring, 6), Start::At(slow.position()));
    }

    #[tokio::test]
    async fn a_ring_knows_how_far_its_slowest_subscriber_is() {
        let ring = Ring::new(2);
        assert_eq!(ring.standing(), Standing::default());
        let (mut slow, mut quick) = (ring.subscribe(Start::Now), ring.subscribe(Start::Now));
        publish(&ring, 1);
        quick.next().await.unwrap();
        let standing = Standing { published: 1, subscribers: 2, lag: 1, lost: 0 };
        assert_eq!(ring.standing(), standing);
        publish(&ring, 3);
        slow.next().await.unwrap_err();
        assert_eq!(ring.standing(), Standing { published: 4, lag: 3, lost: 2, ..standing });
        drop((slow, quick));
        let alone = Standing { published: 4, subscribers: 0, lag: 0, lost: 2 };
        assert_eq!(ring.standing(), alone);
    }

    #[tokio::test]
    async fn resuming_by_number_repeats_nothing() {
        let ring = Ring::new(8);
        publish(&ring, 5);
        assert_eq!(read(&ring, ring.subscribe(at(&ring, 4)), 2).await, [(0, 4), (0, 5)]);
        let later = ring.subscribe(at(&ring, 6));
        assert_eq!(at(&ring, 6), Start::At(later.position()));
    }

    #[tokio::test]
    async fn who_comes_from_an_earlier_run_gets_the_rest_of_it_and_then_all_of_this_one() {
        // Not in their order: each task's journal has its own.
        let ring = after(8, &[(2, 1), (1, 7), (1, 5), (1, 9)]);
        publish(&ring, 2);
        let back = ring.subscribe(from(1, 6));
        assert_eq!(Start::At(back.position()), from(1, 6));
        let rest = [(1, 7), (1, 9), (2, 1), (0, 1), (0, 2)];
        assert_eq!(read(&ring, back, 5).await, rest);
        // Cut off in the midst of it.
        assert_eq!(read(&ring, ring.subscribe(from(1, 8)), 4).await, rest[1..]);
        assert_eq!(read(&ring, ring.subscribe(from(1, 10)), 3).await, rest[2..]);
        assert_eq!(read(&ring, ring.subscribe(from(2, 2)), 2).await, rest[3..]);
    }

    #[tokio::test]
    async fn who_missed_nothing_of_an_earlier_run_waits_for_this_one() {
        let ring = after(8, &[(1, 1)]);
        let mut back = ring.subscribe(from(1, 2));
        assert_eq!(at(&ring, 1), Start::At(back.position()));
        let (next, ()) = tokio::join!(back.next(), async { publish(&ring, 1) });
        assert_eq!(Start::At(next.unwrap().position), at(&ring, 1));
    }

    #[tokio::test]
    async fn earlier_runs_are_for_those_alone_who_come_from_one() {
        let ring = after(8, &[(1, 1), (u64::MAX, 1)]);
        publish(&ring, 1);
        for start in [Start::Oldest, at(&ring, 0), at(&ring, 1)] {
            assert_eq!(read(&ring, ring.subscribe(start), 1).await, [(0, 1)]);
        }
    }

    #[tokio::test]
    async fn earlier_runs_are_bounded_and_go_with_the_first_event_that_is_dropped() {
        let ring = after(2, &[(1, 1), (1, 2), (1, 3)]);
        publish(&ring, 2);
        let kept = [(1, 2), (1, 3), (0, 1), (0, 2)];
        assert_eq!(read(&ring, ring.subscribe(from(1, 1)), 4).await, kept);
        let mut under_way = ring.subscribe(from(1, 1));
        under_way.next().await.unwrap();
        publish(&ring, 1);
        assert_eq!(under_way.next().await, Err(Lagged { count: 1 }));
        assert_eq!(ring.subscribe(from(1, 1)).next().await, Err(Lagged { count: 1 }));
        assert_eq!(read(&ring, ring.subscribe(Start::Oldest), 2).await, [(0, 2), (0, 3)]);
    }
}
