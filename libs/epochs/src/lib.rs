//! The open epoch of a collection: what was touched since it began, and which changes began before
//! it.
//!
//! Owns: the open epoch and the changes under way; beside them a count of changes until it is told
//! ([`News`]).
//! Must not know: what is collected, who marks and sweeps, how services are called.
//!
//! Every change of a service's objects enters here first and leaves when it is durable. While an
//! epoch is open a change names what it makes or newly refers to; the sweep leaves that alone.
//! Nobody waits for a collection: the collection waits for the changes that began before it
//! (docs/adr/0002-garbage-collection.md).
//!
//! Invariant: a change is quiet only while this run knows that nobody sweeps: after an epoch that it
//! took part in was closed, until the next is opened. A run that has just begun does not know what
//! an epoch of its predecessor is still good for.

mod news;
mod reach;
mod whole;

pub use news::{Counts, News};
pub use reach::Flat;
pub use whole::Whole;

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use reach::Reach;

/// The gate that changes pass. `K` names an object.
#[derive(Debug)]
pub struct Epochs<K> {
    incarnation: u64,
    phase: Mutex<Phase<K>>,
}

#[derive(Debug)]
struct Phase<K> {
    open: Option<Arc<Epoch<K>>>,
    last: u64,
    /// An epoch of this run was closed and none is open.
    quiet: bool,
    changes: TaskTracker,
    /// Changes that somebody waits for, or has given up waiting for.
    earlier: Vec<TaskTracker>,
}

/// An open epoch.
#[derive(Debug)]
pub struct Epoch<K> {
    number: u64,
    reach: Mutex<Reach<K>>,
}

/// A change under way. Dropped when it is durable or given up.
#[derive(Debug)]
pub struct Change<K> {
    epoch: Option<Arc<Epoch<K>>>,
    quiet: bool,
    _token: TaskTrackerToken,
}

impl<K> Default for Epochs<K> {
    fn default() -> Self {
        // Two runs of a process differ: the time since 1970 in nanoseconds only grows.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (changes, earlier) = (TaskTracker::default(), Vec::new());
        let phase = Phase { open: None, last: 0, quiet: false, changes, earlier };
        Self {
            incarnation: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            phase: Mutex::new(phase),
        }
    }
}

impl<K> Epochs<K> {
    /// Tells this run of the process from others.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Enters a change.
    pub fn enter(&self) -> Change<K> {
        let phase = self.lock();
        let (epoch, quiet) = (phase.open.clone(), phase.quiet);
        Change { epoch, quiet, _token: phase.changes.token() }
    }

    /// Opens an epoch in place of any that was left open. Changes that enter from now on are
    /// recorded; those that entered before are waited for with [`Epochs::settle`].
    pub fn open(&self, number: u64) -> Arc<Epoch<K>> {
        let epoch = Arc::new(Epoch { number, reach: Mutex::default() });
        let mut phase = self.lock();
        phase.open = Some(epoch.clone());
        phase.last = number;
        phase.quiet = false;
        epoch
    }

    /// Waits until all changes that have entered before this call have left. Whoever bounds the
    /// wait may give it up; the next call waits for the same changes again.
    pub async fn settle(&self) {
        let earlier = {
            let mut phase = self.lock();
            let changes = std::mem::take(&mut phase.changes);
            changes.close();
            phase.earlier.retain(|tracker| !tracker.is_empty());
            phase.earlier.push(changes);
            phase.earlier.clone()
        };
        for tracker in earlier {
            tracker.wait().await;
        }
    }

    /// The number of the last epoch, open or not.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    /// Whether this run has seen neither the begin nor the end of what others may still be sweeping: it
    /// has just begun, or no epoch has begun since one that it has not seen end.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let phase = self.lock();
        phase.open.is_none() && !phase.quiet
    }

    /// This epoch, if it is open.
    #[must_use]
    pub fn opened(&self, number: u64) -> Option<Arc<Epoch<K>>> {
        self.lock().open.clone().filter(|epoch| epoch.number == number)
    }

    /// Closes an epoch, if it is the open one: nobody sweeps any more. Changes are quiet from now
    /// on.
    pub fn close(&self, number: u64) {
        let mut phase = self.lock();
        if phase.open.take_if(|epoch| epoch.number == number).is_some() {
            phase.quiet = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase<K>> {
        // Each change of the phase is whole: no panic lies between its parts.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Epochs<K> {
    /// Records, while an epoch is open, that a thing was used. Answers as [`Epoch::touch`].
    pub fn touch(&self, id: K) -> Whole<K> {
        let open = self.lock().open.clone();
        open.map(|epoch| epoch.touch(id)).unwrap_or_default()
    }

    /// Whether a thing was used since the open epoch began.
    #[must_use]
    pub fn is_touched(&self, id: &K) -> bool {
        let open = self.lock().open.clone();
        open.is_some_and(|epoch| epoch.is_touched(id))
    }
}

impl<K> Epoch<K> {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    fn reach(&self) -> MutexGuard<'_, Reach<K>> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Epoch<K> {
    /// Records that a thing is in use. Answers what that keeps alive which the collection has found dead
    /// and the owners were not told of.
    pub fn touch(self: &Arc<Self>, id: K) -> Whole<K> {
        let things = self.reach().touch(id.clone());
        Whole::new(things, id, self.clone())
    }

    /// Takes in what this collection keeps without what it refers to, in one or several calls. Answers
    /// which of all that was used before; a touch that comes later answers what it makes whole.
    pub fn watch(&self, flat: Flat<K>) -> Vec<K> {
        self.reach().watch(flat)
    }

    /// Whether a thing was used since the epoch began.
    #[must_use]
    pub fn is_touched(&self, id: &K) -> bool {
        self.reach().touched.contains(id)
    }

    /// All that was used since the epoch began.
    #[must_use]
    pub fn touched(&self) -> Vec<K> {
        self.reach().touched.iter().cloned().collect()
    }
}

impl<K> Change<K> {
    /// The epoch that the change falls in.
    #[must_use]
    pub fn epoch(&self) -> Option<&Arc<Epoch<K>>> {
        self.epoch.as_ref()
    }

    /// Whether the owners of what it refers to need not be told, since nobody sweeps.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Records that a thing is made or referred to. Answers as [`Epoch::touch`].
    pub fn touch(&self, id: &K) -> Whole<K>
    where
        K: Eq + Hash + Clone,
    {
        self.epoch.as_ref().map(|epoch| epoch.touch(id.clone())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn settling_waits_for_earlier_changes_alone() {
        let epochs: Epochs<()> = Epochs::default();
        let earlier = epochs.enter();
        assert!(earlier.epoch().is_none());
        epochs.open(1);
        let later = epochs.enter();
        assert_eq!(later.epoch().map(|e| e.number()), Some(1));
        drop(later);
        let mut settled = Box::pin(epochs.settle());
        assert!(settled.as_mut().now_or_never().is_none());
        let _during = epochs.enter();
        drop(earlier);
        settled.await;
    }

    #[tokio::test]
    async fn who_settles_second_waits_for_what_the_first_waits_for() {
        let epochs: Epochs<()> = Epochs::default();
        let change = epochs.enter();
        let mut first = Box::pin(epochs.settle());
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(epochs.settle());
        assert!(second.as_mut().now_or_never().is_none());
        // Given up, and asked for again.
        drop(first);
        let mut third = Box::pin(epochs.settle());
        assert!(third.as_mut().now_or_never().is_none());
        drop(change);
        second.await;
        third.await;
    }

    #[test]
    fn only_an_open_epoch_remembers() {
        let epochs = Epochs::default();
        epochs.touch("a");
        assert!(!epochs.is_touched(&"a"));
        epochs.open(1);
        epochs.touch("a");
        assert!(epochs.is_touched(&"a") && epochs.opened(1).is_some());
        epochs.close(7);
        assert!(epochs.opened(1).is_some() && epochs.opened(7).is_none());
        epochs.open(2);
        assert!(!epochs.is_touched(&"a") && epochs.opened(1).is_none());
        epochs.close(2);
        assert!(epochs.opened(2).is_none() && epochs.last() == 2);
    }

    #[test]
    fn changes_are_quiet_only_after_an_epoch_of_this_run() {
        let epochs: Epochs<()> = Epochs::default();
        assert!(!epochs.enter().is_quiet(), "an epoch of an earlier run may be open elsewhere");
        assert!(epochs.is_blind());
        epochs.close(1);
        assert!(!epochs.enter().is_quiet(), "that was none of this run");
        epochs.open(2);
        assert!(!epochs.enter().is_quiet() && !epochs.is_blind());
        epochs.close(2);
        assert!(epochs.enter().is_quiet() && !epochs.is_blind());
        epochs.open(3);
        assert!(!epochs.enter().is_quiet());
    }
}
