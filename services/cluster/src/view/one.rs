//! One view, as those see it who follow and who read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Settings;
use super::counts::Counts;
use super::reason::Reason;
use super::shelf::Shelf;
use super::state::{Seen, State};
use crate::Error;
use crate::keys::{Kind, Layout};

/// How often what is not shown is warned of.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What a view is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// All up to here is in it.
    pub revision: i64,
    /// Since etcd last said anything.
    pub age: Duration,
    /// Whether it is followed now.
    pub connected: bool,
    /// Objects in etcd that are not shown: they cannot be read, or there is no room for them.
    pub unshown: u64,
}

/// What readers wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// It was read once.
    pub read: bool,
    /// Etcd is followed.
    pub connected: bool,
    /// The number of the next change.
    pub next: u64,
    /// Another one in each history of etcd.
    pub history: u64,
}

#[derive(Debug)]
pub(super) struct View {
    pub kind: Kind,
    pub layout: Layout,
    pub prefix: String,
    pub settings: Arc<Settings>,
    pub counts: Arc<Counts>,
    state: Mutex<State>,
    news: watch::Sender<News>,
    /// The number of the next change of each watcher, as long as it lives.
    watchers: Mutex<Vec<Weak<AtomicU64>>>,
    warned: Mutex<(u64, Option<Instant>)>,
}

impl View {
    pub fn new(kind: Kind, settings: Arc<Settings>, counts: Arc<Counts>) -> Self {
        let state = State::new(kind, settings.bounds, settings.kept);
        Self {
            kind,
            layout: settings.layout.clone(),
            prefix: settings.layout.of_kind(kind),
            settings,
            counts,
            state: Mutex::new(state),
            news: watch::channel(News::default()).0,
            watchers: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // What changes it is whole in itself; a panic there is a defect that the next listing mends.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    pub fn is_read(&self) -> bool {
        self.news.borrow().read
    }

    pub fn revision(&self) -> i64 {
        self.state().revision
    }

    pub fn unshown(&self) -> u64 {
        self.state().unshown()
    }

    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    pub fn objects(&self) -> usize {
        self.state().shelf.len()
    }

    /// What it is worth now.
    pub fn worth(&self) -> Worth {
        let state = self.state();
        Worth {
            revision: state.revision,
            age: state.heard.elapsed(),
            connected: self.news.borrow().connected,
            unshown: state.unshown(),
        }
    }

    /// How far the view is, and the key of the object that was written last until then, with its revision.
    /// What is there of the next revision is not all of it: etcd was lost in its midst.
    pub fn witness(&self) -> (i64, Option<(String, i64)>) {
        let state = self.state();
        let whole = state.shelf.iter().filter(|item| item.revision() <= state.revision);
        let newest = whole.max_by_key(|item| item.revision());
        let key = newest.map(|item| {
            let key = item.key();
            let text = match self.kind {
                Kind::Nodes => format!("{}{}", self.prefix, key.node),
                _ => format!("{}{}/{}/{}", self.prefix, key.node, key.namespace, key.name),
            };
            (text, item.revision())
        });
        (state.revision, key)
    }

    /// Takes a listing in place of what there was.
    pub fn adopt(&self, shelf: Shelf, revision: i64, anew: bool, reason: Option<Reason>) {
        let (changes, next, history) = {
            let mut state = self.state();
            let first = state.revision == 0;
            let changes = state.adopt(shelf, revision, anew && !first);
            state.trouble = None;
            (changes, state.ring.next(), state.history)
        };
        self.counts.changed(changes);
        if let Some(reason) = reason {
            self.counts.listed_again(reason);
            let (kind, reason) = (self.kind.name(), reason.name());
            tracing::warn!(kind, reason, revision, changes, "view was listed again");
        }
        self.news.send_modify(|news| {
            *news = News { read: true, connected: true, next, history };
        });
        self.warn();
    }

    /// Takes changes in their order.
    pub fn apply(&self, seen: Vec<(i64, Seen)>, whole: i64) {
        let (changes, next) = {
            let mut state = self.state();
            let changes = state.apply(seen, whole);
            (changes, state.ring.next())
        };
        self.counts.changed(changes);
        if changes > 0 {
            self.news.send_modify(|news| news.next = next);
        }
        self.warn();
    }

    /// Etcd has nothing new. Answers whether there is room for what was left out.
    pub fn alive(&self) -> bool {
        let mut state = self.state();
        state.heard = Instant::now();
        state.has_room()
    }

    /// Etcd is followed.
    pub fn found(&self) {
        {
            let mut state = self.state();
            (state.heard, state.trouble) = (Instant::now(), None);
        }
        let was = |news: &mut News| !std::mem::replace(&mut news.connected, true);
        if self.news.send_if_modified(was) {
            tracing::info!(kind = self.kind.name(), "view follows etcd again");
        }
    }

    /// Etcd is not followed any more, or still not.
    pub fn lost(&self, error: &Error) {
        let text = error.to_string();
        let news = self.state().trouble.as_deref() != Some(text.as_str());
        self.state().trouble = Some(text);
        let was = |news: &mut News| std::mem::replace(&mut news.connected, false);
        let lost = self.news.send_if_modified(was);
        if lost || news {
            tracing::warn!(kind = self.kind.name(), %error, "view does not follow etcd");
        }
    }

    /// Says now and then that not all is shown.
    fn warn(&self) {
        let unshown = self.unshown();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, at) = *warned;
        let due = at.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if unshown > count && due {
            *warned = (unshown, Some(Instant::now()));
            tracing::warn!(kind = self.kind.name(), unshown, "objects in etcd are not shown");
        } else if unshown < count {
            warned.0 = unshown;
        }
    }

    /// A place for the number of a watcher's next change, which is now `next`.
    pub fn watcher(&self, next: u64) -> Arc<AtomicU64> {
        let at = Arc::new(AtomicU64::new(next));
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(&at));
        at
    }

    /// How many changes the slowest watcher is behind.
    pub fn lag(&self) -> u64 {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = watchers.iter().filter_map(Weak::upgrade);
        let slowest = next.map(|at| at.load(Ordering::Relaxed)).min();
        drop(watchers);
        slowest.map_or(0, |next| self.state().ring.behind(next))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::see;
    use super::*;
    use crate::objects::Object;
    use crate::peers::{etcd, stored};

    fn put(view: &View, name: &str, modified: i64) -> (i64, Seen) {
        let value = stored::encode(&Object::Node(Box::default())).into();
        let key = format!("{}{name}", view.prefix).into();
        see(
            &view.layout,
            view.kind,
            &etcd::Change::Put(etcd::Entry { key, value, modified, lease: 0 }),
        )
    }

    #[test]
    fn what_is_of_a_revision_that_was_cut_is_no_witness() {
        let layout = Layout::new(&"c".parse().unwrap());
        let settings = Arc::new(Settings::new(etcd::Settings::default(), layout));
        let view = View::new(Kind::Nodes, settings, Arc::default());
        view.adopt(Shelf::default(), 3, false, None);
        view.apply(vec![put(&view, "a", 4)], 4);
        let key = format!("{}a", view.prefix);
        assert_eq!(view.witness(), (4, Some((key.clone(), 4))));
        // Some of revision 5, of which there is more.
        view.apply(vec![put(&view, "b", 5)], 4);
        assert_eq!(view.witness(), (4, Some((key, 4))));
        view.apply(vec![put(&view, "a", 5)], 4);
        assert_eq!((view.witness(), view.objects()), ((4, None), 2));
    }
}
