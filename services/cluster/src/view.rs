//! What other nodes wrote, as long as somebody reads it.
//!
//! Owns: one view for each kind of objects, followed from etcd while it has readers and a while longer; the
//! changes of late. Must not know: who reads.
//!
//! A view is a list that is kept by a watch ([`follow`]). It answers from memory however long etcd is away,
//! and says how old it is. Who was away itself comes back with the revision up to which it knows all
//! ([`watching`]): the ring has what is missing, or etcd.
//!
//! Objects are kept as they were written and are read when they are asked for; what many nodes have alike
//! is kept once. A container takes 384 bytes so, an image 117: those of a thousand nodes with 30 and 50 of
//! them each take 17 MB (`tests/view_memory.rs`), and nothing when nobody reads them. While all is listed
//! again it may be twice as much.
//!
//! Revisions are those of etcd. When etcd has lost its data they begin anew, and who resumes with one of
//! before is told to list again if it is greater than etcd's. One that is not cannot be told apart: a
//! client that sees revisions fall lists again by itself.

mod counts;
mod fields;
mod follow;
mod fresh;
mod history;
mod item;
mod link;
#[cfg(test)]
mod model;
mod one;
mod page;
mod pool;
mod reader;
mod reason;
mod ring;
mod scan;
mod shelf;
mod state;
mod told;
mod unshown;
mod watching;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_filters::Filter;
use berth_lifecycle::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use item::{Item, Key};
pub use one::Worth;
pub use page::{Listed, MAX_PAGE, PAGE};
pub use ring::Kept;
pub use shelf::Bounds;
pub use told::{PIECE, Told};
pub use watching::{Piece, Watching};

use crate::backoff::Backoff;
use crate::keys::{Kind, Layout};
use crate::peers::etcd;
use crate::{Error, Result};
use counts::Counts;
use follow::Follower;
use history::History;
use link::Link;
use one::View;
use reader::{Reader, Readers};
use scan::Scan;
use watching::{Phase, Start};

/// The least time that a view is kept unread, and between two looks at who reads it.
const LINGER: Duration = Duration::from_secs(1);

/// How long to wait before etcd is tried again.
const fn pauses() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

/// How views are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where etcd is.
    pub etcd: etcd::Settings,
    /// Where things lie there.
    pub layout: Layout,
    /// How long a view is kept when nobody reads it; a second at least.
    pub linger: Duration,
    /// How long the first reader waits, and who asks for what is ahead of the view.
    pub wait: Duration,
    /// How often a watcher hears something when nothing happens.
    pub heartbeat: Duration,
    /// How much one view shows.
    pub bounds: Bounds,
    /// How many changes one view keeps for watchers.
    pub kept: Kept,
    /// Objects asked of etcd at a time.
    pub page: usize,
    /// The most watches of clients at once.
    pub watches: usize,
    /// The most lists at once.
    pub lists: usize,
}

impl Settings {
    /// As it is unless it is configured.
    #[must_use]
    pub fn new(etcd: etcd::Settings, layout: Layout) -> Self {
        Self {
            etcd,
            layout,
            linger: Duration::from_secs(30),
            wait: Duration::from_secs(5),
            heartbeat: Duration::from_secs(15),
            bounds: Bounds { objects: 2_000_000, bytes: 1 << 30 },
            kept: Kept { changes: 1 << 14, bytes: 16 << 20 },
            page: 5_000,
            watches: 256,
            lists: 64,
        }
    }
}

/// A view that is kept at the moment.
#[derive(Clone, Debug)]
pub struct ViewStanding {
    /// Of what.
    pub kind: Kind,
    /// What it is worth.
    pub worth: Worth,
    /// Objects in it.
    pub objects: usize,
    /// Who reads it now.
    pub readers: usize,
    /// Changes that the slowest watcher has before it.
    pub lag: u64,
    /// Why it is not followed.
    pub trouble: Option<String>,
}

/// All views. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Views {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Arc<Settings>,
    tasks: Tasks,
    link: Link,
    kept: Mutex<Vec<(Arc<View>, Arc<Readers>)>>,
    counts: [Arc<Counts>; Kind::ALL.len()],
    watches: Arc<Semaphore>,
    lists: Arc<Semaphore>,
}

impl Views {
    /// None yet. Etcd is not asked before somebody reads.
    #[must_use]
    pub fn new(settings: Settings, tasks: Tasks) -> Self {
        let settings = Settings { linger: settings.linger.max(LINGER), ..settings };
        let link = Link::new(settings.etcd.clone());
        let watches = Arc::new(Semaphore::new(settings.watches));
        let lists = Arc::new(Semaphore::new(settings.lists));
        let (settings, kept, counts) = (Arc::new(settings), Mutex::default(), Default::default());
        Self { shared: Arc::new(Shared { settings, tasks, link, kept, counts, watches, lists }) }
    }

    /// Has them told with the metrics of the process.
    pub fn register(&self) {
        counts::register(self.clone());
    }

    /// A page of what there is: `size` objects (0: [`PAGE`]; at most [`MAX_PAGE`], and fewer if they are
    /// large) behind `token`, which is empty or from the page before.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token that is none; [`Error::NoView`]; [`Error::TooMany`].
    pub async fn list(
        &self,
        kind: Kind,
        filter: &Filter,
        size: usize,
        token: &str,
    ) -> Result<Listed> {
        let _place = place(&self.shared.lists, "lists")?;
        let reader = self.reader(kind).await?;
        page::page(&reader.view, filter, size, token).await
    }

    /// What changes, from revision `from` on; 0: what there is comes first.
    ///
    /// # Errors
    /// [`Error::Ahead`] when etcd never had that revision; [`Error::NoView`]; [`Error::TooMany`]. Then and
    /// later: [`Error::Compacted`]; [`Error::Behind`] when it was read too slowly.
    pub async fn watch(&self, kind: Kind, filter: Filter, from: i64) -> Result<Watching> {
        if from < 0 {
            return Err(Error::Invalid(format!("revision {from} is none")));
        }
        let place = place(&self.shared.watches, "watches")?;
        let reader = self.reader(kind).await?;
        let (next, newest, kept, history) = {
            let state = reader.view.state();
            (state.ring.next(), state.revision, state.ring.from(from), state.history)
        };
        let reached = from <= newest + 1;
        if !reached && reader.view.worth().connected {
            self.ahead(from).await?;
        }
        let (phase, next) = match kept {
            _ if from == 0 => (Phase::Scan(Scan::new(next)), next),
            Some(next) => (Phase::Ring, next),
            None => (Phase::History(Box::new(History::new(from, history))), next),
        };
        let start = Start { phase, next, from, reached, history };
        Ok(Watching::new(reader, place, filter, start))
    }

    /// Others may be ahead of the view, but not of etcd.
    async fn ahead(&self, from: i64) -> Result<()> {
        let seen = async {
            let linked = self.shared.link.get().await?;
            Box::pin(linked.etcd.seen()).await
        };
        match tokio::time::timeout(self.shared.settings.wait, seen).await {
            Ok(Ok(seen)) if from > seen.revision.saturating_add(1) => {
                Err(Error::Ahead { asked: from, newest: seen.revision })
            }
            // It is seen when etcd is there again.
            _ => Ok(()),
        }
    }

    /// The views that are kept at the moment.
    #[must_use]
    pub fn kept(&self) -> Vec<ViewStanding> {
        let kept: Vec<_> = self.shared.lock().clone();
        let standing = |(view, readers): (Arc<View>, Arc<Readers>)| ViewStanding {
            kind: view.kind,
            worth: view.worth(),
            objects: view.objects(),
            readers: readers.now().0,
            lag: view.lag(),
            trouble: view.trouble(),
        };
        kept.into_iter().map(standing).collect()
    }

    /// How often all of a kind was listed again.
    #[must_use]
    pub fn relists(&self, kind: Kind) -> u64 {
        let counts = &self.shared.counts[kind as usize];
        reason::Reason::ALL.into_iter().map(|reason| counts.listings(reason)).sum()
    }

    fn counts(&self) -> impl Iterator<Item = (Kind, &Counts)> {
        Kind::ALL.into_iter().zip(self.shared.counts.iter().map(|counts| &**counts))
    }

    /// The view of a kind, read at least once.
    async fn reader(&self, kind: Kind) -> Result<Reader> {
        let reader = self.start(kind);
        let view = &reader.view;
        let mut news = view.news();
        let waited = self.shared.settings.wait;
        let read = tokio::time::timeout(waited, news.wait_for(|news| news.read)).await;
        if !read.is_ok_and(|read| read.is_ok()) {
            let reason = view.trouble().unwrap_or_else(|| "it is being read".into());
            return Err(Error::NoView { kind: kind.name(), waited, reason });
        }
        Ok(reader)
    }

    fn start(&self, kind: Kind) -> Reader {
        let mut kept = self.shared.lock();
        let known = kept.iter().find(|(view, _)| view.kind == kind).cloned();
        let (view, readers) = known.unwrap_or_else(|| {
            let counts = self.shared.counts[kind as usize].clone();
            let view = Arc::new(View::new(kind, self.shared.settings.clone(), counts));
            let new = (view, Readers::new());
            kept.push(new.clone());
            let keeping = keep(self.shared.clone(), new.0.clone(), new.1.clone());
            self.shared.tasks.spawn_endless("view", Box::pin(keeping));
            new
        });
        Reader::new(view, self.shared.link.clone(), readers)
    }
}

/// A place among those who do something at the same time.
fn place(places: &Arc<Semaphore>, what: &'static str) -> Result<OwnedSemaphorePermit> {
    let full = |_| Error::TooMany(format!("there are as many {what} as may be: try again later"));
    places.clone().try_acquire_owned().map_err(full)
}

/// Follows etcd until nobody has read the view for as long as it lingers.
async fn keep(shared: Arc<Shared>, view: Arc<View>, readers: Arc<Readers>) {
    let following = Follower::new(view.clone(), shared.link.clone()).follow();
    let unread = async {
        let mut wait = shared.settings.linger;
        loop {
            tokio::time::sleep(wait).await;
            match shared.retire(&view, &readers) {
                Some(longer) => wait = longer,
                None => return,
            }
        }
    };
    tokio::select! {
        never = following => match never {},
        () = unread => {}
    }
    tracing::debug!(kind = view.kind.name(), "view is not kept any more");
    if shared.lock().is_empty() {
        shared.link.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<View>, Arc<Readers>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a view away that nobody reads; else says when to look again.
    fn retire(&self, view: &Arc<View>, readers: &Readers) -> Option<Duration> {
        // Nobody begins to read meanwhile.
        let mut kept = self.lock();
        let (count, since) = readers.now();
        let left = self.settings.linger.saturating_sub(since.elapsed());
        if count > 0 {
            return Some(self.settings.linger);
        }
        if !left.is_zero() {
            return Some(left);
        }
        kept.retain(|(it, _)| !Arc::ptr_eq(it, view));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_is_not_looked_for_all_the_time() {
        let layout = Layout::new(&"c".parse().unwrap());
        let settings = Settings::new(etcd::Settings::default(), layout);
        let settings = Settings { linger: Duration::ZERO, ..settings };
        let shared = Views::new(settings, Tasks::new()).shared;
        let counts = shared.counts[Kind::Nodes as usize].clone();
        let view = Arc::new(View::new(Kind::Nodes, shared.settings.clone(), counts));
        let readers = Readers::new();
        let _reader = Reader::new(view.clone(), shared.link.clone(), readers.clone());
        assert_eq!(shared.retire(&view, &readers), Some(LINGER));
    }
}
