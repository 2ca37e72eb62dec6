//! The ring itself.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use berth_ids::Namespace;
use bytes::Bytes;
use tokio::sync::watch;

use crate::Subscription;

/// Something that happened, after it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number in this ring, from 1 and without gaps.
    pub seq: u64,
    /// When it was published.
    pub timestamp: SystemTime,
    /// The namespace in which it happened.
    pub namespace: Namespace,
    /// What kind of thing happened, for instance `/tasks/exit`.
    pub topic: Cow<'static, str>,
    /// The type of `value`, for instance `containerd.events.TaskExit`.
    pub type_url: Cow<'static, str>,
    /// The encoded message.
    pub value: Bytes,
}

/// The last events of one service. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Ring {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    kept: Mutex<Kept>,
    /// The number of the newest event.
    pub(crate) newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    events: VecDeque<Event>,
    capacity: usize,
    newest: u64,
}

/// What a subscriber finds at its place in the ring.
pub(crate) enum Found {
    Event(Event),
    /// The place was dropped; the oldest that is kept has this number.
    Dropped {
        oldest: u64,
    },
    NotYet,
}

impl Ring {
    /// A ring that keeps the last `capacity` events, one at least.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let kept = Kept { events: VecDeque::new(), capacity: capacity.max(1), newest: 0 };
        let (newest, _) = watch::channel(0);
        Self { shared: Arc::new(Shared { kept: Mutex::new(kept), newest }) }
    }

    /// Adds an event, drops the oldest if the ring is full, and returns the new one's number.
    pub fn publish(
        &self,
        namespace: Namespace,
        topic: impl Into<Cow<'static, str>>,
        type_url: impl Into<Cow<'static, str>>,
        value: impl Into<Bytes>,
    ) -> u64 {
        self.publish_at(SystemTime::now(), namespace, topic, type_url, value)
    }

    /// As [`Ring::publish`], for what happened earlier or elsewhere.
    pub fn publish_at(
        &self,
        timestamp: SystemTime,
        namespace: Namespace,
        topic: impl Into<Cow<'static, str>>,
        type_url: impl Into<Cow<'static, str>>,
        value: impl Into<Bytes>,
    ) -> u64 {
        let (topic, type_url, value) = (topic.into(), type_url.into(), value.into());
        let mut kept = self.shared.lock();
        let seq = kept.newest + 1;
        if kept.events.len() == kept.capacity {
            kept.events.pop_front();
        }
        kept.events.push_back(Event { seq, timestamp, namespace, topic, type_url, value });
        kept.newest = seq;
        // Under the lock, so that the watched number never runs backwards.
        self.shared.newest.send_replace(seq);
        seq
    }

    /// Subscribes to what comes, or to what has a number of at least `from`.
    ///
    /// When `from` is no longer kept the first answer is [`crate::Lagged`]. When it lies in the
    /// future the ring is a new one (the service was restarted): then everything kept follows.
    #[must_use]
    pub fn subscribe(&self, from: Option<u64>) -> Subscription {
        let newest = self.newest();
        let next = match from {
            None => newest + 1,
            Some(from) if from > newest + 1 => self.shared.lock().oldest(),
            Some(from) => from.max(1),
        };
        Subscription::new(self.shared.clone(), next)
    }

    /// The number of the newest event, 0 before the first.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.shared.lock().newest
    }
}

impl Shared {
    pub(crate) fn find(&self, seq: u64) -> Found {
        let kept = self.lock();
        if seq > kept.newest {
            return Found::NotYet;
        }
        let oldest = kept.oldest();
        let index = seq.checked_sub(oldest).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| kept.events.get(index)) {
            Some(event) => Found::Event(event.clone()),
            None => Found::Dropped { oldest },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing that can panic stands between the changes under this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn oldest(&self) -> u64 {
        self.events.front().map_or(self.newest + 1, |event| event.seq)
    }
}
