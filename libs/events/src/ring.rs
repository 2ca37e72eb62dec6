//! The ring itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use berth_ids::Namespace;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{Position, Start, Subscription};

/// Something that happened, after it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it stands.
    pub position: Position,
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
    /// Tells this run of the service from others.
    incarnation: u64,
    kept: Mutex<Kept>,
    /// The number of the newest event.
    pub(crate) newest: watch::Sender<u64>,
    /// How many events subscribers lost.
    pub(crate) lost: AtomicU64,
}

/// How the subscribers of a ring are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Events that this run published.
    pub published: u64,
    /// Those who read.
    pub subscribers: u64,
    /// How many events the slowest of them has before it.
    pub lag: u64,
    /// How many events were dropped before a subscriber had read them.
    pub lost: u64,
}

#[derive(Debug)]
struct Kept {
    /// What earlier runs told and this one was given.
    earlier: BTreeMap<Position, Event>,
    events: VecDeque<Event>,
    capacity: usize,
    newest: u64,
    /// The number of the next event of each subscriber, as long as it lives.
    readers: Vec<Weak<AtomicU64>>,
}

/// What a subscriber finds at its place in the ring.
pub(crate) enum Found {
    Event(Event),
    /// So many were dropped from the place on; the oldest that is kept follows.
    Dropped {
        count: u64,
        oldest: Position,
    },
    /// It will have this number.
    NotYet(u64),
}

impl Ring {
    /// A ring that keeps the last `capacity` events, one at least.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        // The time since 1970 in nanoseconds differs from one run to the next, and grows.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let kept = Kept {
            earlier: BTreeMap::new(),
            events: VecDeque::new(),
            capacity: capacity.max(1),
            newest: 0,
            readers: Vec::new(),
        };
        let (newest, _) = watch::channel(0);
        let incarnation = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let (kept, lost) = (Mutex::new(kept), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { incarnation, kept, newest, lost }) }
    }

    /// Tells this run of the service from others.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.shared.incarnation
    }

    /// Adds an event, drops the oldest if the ring is full, and returns where the new one stands.
    pub fn publish(
        &self,
        namespace: Namespace,
        topic: impl Into<Cow<'static, str>>,
        type_url: impl Into<Cow<'static, str>>,
        value: impl Into<Bytes>,
    ) -> Position {
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
    ) -> Position {
        let (topic, type_url, value) = (topic.into(), type_url.into(), value.into());
        let mut kept = self.shared.lock();
        let position = self.shared.own(kept.newest + 1);
        if kept.events.len() == kept.capacity {
            kept.events.pop_front();
            // Of no more use: who comes back from an earlier run is told that it lost events.
            kept.earlier = BTreeMap::new();
        }
        kept.events.push_back(Event { position, timestamp, namespace, topic, type_url, value });
        kept.newest = position.seq;
        // Under the lock, so that the watched number never runs backwards.
        self.shared.newest.send_replace(position.seq);
        position
    }

    /// Takes in an event that an earlier run published, for subscribers that come back from that
    /// run and had not got it. The newest of these are kept, as many as of this run's own, until
    /// the first of this run's own is dropped.
    pub fn recall(&self, event: Event) {
        let mut kept = self.shared.lock();
        if kept.oldest() > 1 {
            return;
        }
        kept.earlier.insert(event.position, event);
        if kept.earlier.len() > kept.capacity {
            kept.earlier.pop_first();
        }
    }

    /// Subscribes. When events from the start on are no longer kept, the first answer is
    /// [`crate::Lagged`].
    #[must_use]
    pub fn subscribe(&self, start: Start) -> Subscription {
        let mut kept = self.shared.lock();
        let next = match start {
            Start::Now => self.shared.own(kept.newest + 1),
            Start::Oldest => self.shared.own(kept.oldest()),
            Start::At(position) => self.shared.settled(&kept, position),
            Start::Kept(position) => self.shared.own(position.seq.max(kept.oldest())),
        };
        let at = Arc::new(AtomicU64::new(self.shared.own_seq(next)));
        kept.readers.retain(|reader| reader.strong_count() > 0);
        kept.readers.push(Arc::downgrade(&at));
        drop(kept);
        Subscription::new(self.shared.clone(), next, at)
    }

    /// How its subscribers are doing.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let kept = self.shared.lock();
        let next = kept.readers.iter().filter_map(Weak::upgrade);
        let next: Vec<u64> = next.map(|at| at.load(Ordering::Relaxed)).collect();
        let slowest = next.iter().copied().min().unwrap_or(kept.newest + 1);
        Standing {
            published: kept.newest,
            subscribers: next.len() as u64,
            lag: (kept.newest + 1).saturating_sub(slowest.max(1)),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    pub(crate) fn find(&self, next: Position) -> Found {
        let kept = self.lock();
        if let Some(event) = self.earlier(&kept, next) {
            return Found::Event(event.clone());
        }
        let (next, oldest) = (self.settled(&kept, next).seq, kept.oldest());
        if next > kept.newest {
            return Found::NotYet(next);
        }
        let index = next.checked_sub(oldest).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| kept.events.get(index)) {
            Some(event) => Found::Event(event.clone()),
            None => Found::Dropped { count: oldest - next, oldest: self.own(oldest) },
        }
    }

    /// The event of an earlier run that comes next for a subscriber of an earlier run.
    fn earlier<'a>(&self, kept: &'a Kept, next: Position) -> Option<&'a Event> {
        let mut rest = kept.earlier.range(next..);
        rest.next().filter(|_| next.incarnation != self.incarnation).map(|(_, event)| event)
    }

    /// Where a subscriber goes on: after the last event of earlier runs at the start of this one.
    fn settled(&self, kept: &Kept, next: Position) -> Position {
        match self.earlier(kept, next) {
            Some(_) => next,
            None if next.incarnation == self.incarnation => self.own(next.seq.max(1)),
            None => self.own(1),
        }
    }

    /// The number of a place in this run; that of one in an earlier run is before all.
    pub(crate) fn own_seq(&self, position: Position) -> u64 {
        if position.incarnation == self.incarnation { position.seq } else { 0 }
    }

    /// A position in this run.
    fn own(&self, seq: u64) -> Position {
        Position { incarnation: self.incarnation, seq }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing that can panic stands between the changes under this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn oldest(&self) -> u64 {
        self.events.front().map_or(self.newest + 1, |event| event.position.seq)
    }
}
