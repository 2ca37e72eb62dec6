//! Writing to etcd what changed on this node.
//!
//! Owns: what of the node is to be written, when, and how much at once; the life of a registration, again and
//! again. Must not know: where news come from ([`crate::truth`]).
//!
//! | module | what it does |
//! |---|---|
//! | `dirty` | gathers news, whether there is a registration or not |
//! | `life` | one registration after the other |
//! | `flush`, `asking`, `transact` | while one holds: questions to the truth, writes to etcd |
//! | `shelf`, `own`, `there` | what should be there, and what is: of a kind, the node's own key, read from etcd |
//! | `standing`, `counts` | what is told of it |
//!
//! Nothing here compacts etcd: how far back it remembers is the operator's to say.

mod asking;
mod bucket;
mod counts;
mod dirty;
mod flush;
mod life;
mod own;
mod shelf;
mod standing;
mod there;
mod transact;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use counts::{Counts, register as register_metrics};
pub use standing::{Registration, Standing};

use crate::keys::{Held, Layout};
use crate::names::NodeName;
use crate::objects::{MAX_VALUE, Node, Object};
use crate::peers::{etcd, stored};
use crate::truth::{News, Truth};
use dirty::Dirty;

/// News that wait to be gathered. Gathering waits for nothing.
const NEWS: usize = 1024;
/// Before news are followed again, should that ever end.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// What is published, and how much of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where things lie.
    pub layout: Layout,
    /// The node's name.
    pub name: NodeName,
    /// The machine's run, as the kernel tells it.
    pub boot: String,
    /// Of this run of the process.
    pub incarnation: String,
    /// How long etcd waits for a node that says nothing.
    pub ttl: Duration,
    /// Keys, on average; as many may go at once. 0 counts as 1.
    pub writes_per_second: u32,
    /// Changes within it are written together.
    pub batch: Duration,
    /// Of each kind.
    pub max_objects: usize,
    /// How often what is in etcd is compared with the truth, at the least; up to twice as often.
    pub compare: Duration,
    /// What of the node never changes: addresses, version, labels. The rest is filled in.
    pub node: Node,
}

/// Publishes one node.
pub struct Publisher {
    settings: Settings,
    etcd: etcd::Settings,
    truth: Arc<dyn Truth>,
    dirty: Mutex<Dirty>,
    /// Something is dirty.
    news: Notify,
    /// What was asked for or waits to be written, beside what is dirty.
    pending: AtomicUsize,
    standing: watch::Sender<Standing>,
    counts: Arc<Counts>,
}

impl Publisher {
    /// Does nothing until it is run.
    #[must_use]
    pub fn new(settings: Settings, etcd: etcd::Settings, truth: Arc<dyn Truth>) -> Self {
        Self {
            settings,
            etcd,
            truth,
            dirty: Mutex::default(),
            news: Notify::new(),
            pending: AtomicUsize::new(0),
            standing: standing::channel(),
            counts: Arc::default(),
        }
    }

    /// Counts together with others: for many in one process.
    #[must_use]
    pub fn counting(mut self, counts: Arc<Counts>) -> Self {
        self.counts = counts;
        self
    }

    /// How it stands, and what changes of that.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// What it counts.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Publishes until `stop`, whatever becomes of etcd and of the services. A write that is under way then
    /// is finished, for two seconds at most. The lease is left to run out: who comes back before that has
    /// never been away.
    pub async fn run(self, stop: CancellationToken) {
        let (sender, receiver) = mpsc::channel(NEWS);
        tokio::select! {
            () = self.follow(sender) => {}
            () = self.gather(receiver) => {}
            () = self.live(&stop) => {}
        }
    }

    async fn follow(&self, news: mpsc::Sender<News>) {
        loop {
            // Each call begins with gaps, which stand for what happened in between.
            self.truth.follow(news.clone()).await;
            tokio::time::sleep(FOLLOW_AGAIN).await;
        }
    }

    async fn gather(&self, mut receiver: mpsc::Receiver<News>) {
        while let Some(news) = receiver.recv().await {
            let now = Instant::now();
            let mut dirty = self.dirty();
            dirty.add(news, now);
            while let Ok(news) = receiver.try_recv() {
                dirty.add(news, now);
            }
            drop(dirty);
            self.tell_waiting();
            self.news.notify_one();
        }
    }

    fn dirty(&self) -> MutexGuard<'_, Dirty> {
        // It is whole after each call.
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much waits beside what is dirty.
    fn pending(&self, pending: usize) {
        self.pending.store(pending, Ordering::Relaxed);
        self.tell_waiting();
    }

    fn tell_waiting(&self) {
        let waiting = self.dirty().len() + self.pending.load(Ordering::Relaxed);
        standing::change(&self.standing, |standing| standing.waiting = waiting as u64);
    }
}

/// The value of something that the node holds; none of what nobody would take.
fn encode(layout: &Layout, node: &NodeName, held: &Held, object: &Object) -> Option<Bytes> {
    let value = stored::encode(object);
    let readable = object.kind() == held.kind
        && value.len() <= MAX_VALUE
        && stored::decode(held.kind, layout.held(node, held).as_bytes(), &value).is_ok();
    readable.then(|| value.into())
}
