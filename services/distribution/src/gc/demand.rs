//! What asks for a collection: deletions, many changes, a caller that waits; and how soon.
//!
//! The thresholds mean what containerd's scheduler means by them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_epochs::Counts;
use tokio::sync::Notify;

/// Counts of what happened since the last collection.
pub struct Demand {
    counts: Mutex<Counts>,
    changes_wanted: AtomicU64,
    deletions_wanted: AtomicU64,
    wake: Notify,
}

/// How soon a collection is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// When its turn comes.
    InTurn,
    /// At once.
    Now,
}

impl Demand {
    /// A collection is asked for at once by this many deletions (0: by none), and in its turn by any
    /// deletion and by this many changes (0: by none).
    #[must_use]
    pub fn new(changes_wanted: u64, deletions_wanted: u64) -> Self {
        let (counts, wake) = (Mutex::default(), Notify::new());
        let (changes_wanted, deletions_wanted) = (changes_wanted.into(), deletions_wanted.into());
        Self { counts, changes_wanted, deletions_wanted, wake }
    }

    /// As [`Demand::new`] from now on, with what was counted so far.
    pub fn set(&self, changes_wanted: u64, deletions_wanted: u64) {
        self.changes_wanted.store(changes_wanted, Ordering::Relaxed);
        self.deletions_wanted.store(deletions_wanted, Ordering::Relaxed);
        self.add(Counts::default());
    }

    /// Something was made or changed.
    pub fn changed(&self) {
        self.add(Counts { changes: 1, deletions: 0 });
    }

    /// Something was deleted.
    pub fn deleted(&self) {
        self.add(Counts { changes: 1, deletions: 1 });
    }

    /// So much happened elsewhere, or was not collected after all.
    pub fn add(&self, more: Counts) {
        {
            let mut counts = self.counts();
            counts.changes = counts.changes.saturating_add(more.changes);
            counts.deletions = counts.deletions.saturating_add(more.deletions);
        }
        if self.wish().is_some() {
            self.wake.notify_one();
        }
    }

    /// Waits until a collection is asked for as soon as this, or sooner.
    pub async fn wished(&self, soon: Wish) -> Wish {
        loop {
            match self.wish() {
                Some(wish) if wish >= soon => return wish,
                _ => self.wake.notified().await,
            }
        }
    }

    /// Waits until one is asked for at once, and by other deletions than the `known` ones.
    pub async fn wished_anew(&self, known: u64) {
        while self.known() == known || self.wish() != Some(Wish::Now) {
            self.wake.notified().await;
        }
    }

    /// How many deletions there were since the last collection began.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.counts().deletions
    }

    /// Whether a collection is asked for.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.wish().is_some()
    }

    /// Begins to count anew, as a collection begins, and answers what it is to collect.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.counts())
    }

    fn wish(&self) -> Option<Wish> {
        let counts = *self.counts();
        let reached = |count: u64, wanted: &AtomicU64| {
            let wanted = wanted.load(Ordering::Relaxed);
            wanted > 0 && count >= wanted
        };
        if reached(counts.deletions, &self.deletions_wanted) {
            return Some(Wish::Now);
        }
        let in_turn = counts.deletions > 0 || reached(counts.changes, &self.changes_wanted);
        in_turn.then_some(Wish::InTurn)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn asked(demand: &Demand, soon: Wish) -> Option<Wish> {
        demand.wished(soon).now_or_never()
    }

    #[test]
    fn deletions_ask_at_once_from_their_threshold_on() {
        let demand = Demand::new(0, 2);
        demand.changed();
        assert_eq!(asked(&demand, Wish::InTurn), None, "a change is no deletion");
        demand.deleted();
        assert_eq!(asked(&demand, Wish::InTurn), Some(Wish::InTurn));
        assert_eq!(asked(&demand, Wish::Now), None);
        demand.deleted();
        assert_eq!(asked(&demand, Wish::InTurn), Some(Wish::Now));
        let counts = demand.take();
        assert_eq!(counts, Counts { changes: 3, deletions: 2 });
        assert_eq!(asked(&demand, Wish::InTurn), None, "counted anew");
        demand.add(counts);
        assert_eq!(asked(&demand, Wish::InTurn), Some(Wish::Now), "not collected after all");
    }

    #[test]
    fn changes_ask_from_theirs_and_deletions_are_changes() {
        let demand = Demand::new(3, 0);
        demand.changed();
        demand.changed();
        assert_eq!(asked(&demand, Wish::InTurn), None);
        demand.add(Counts { changes: 1, deletions: 0 });
        assert_eq!(asked(&demand, Wish::InTurn), Some(Wish::InTurn));
        demand.add(Counts { changes: u64::MAX, deletions: u64::MAX });
        assert_eq!(
            asked(&demand, Wish::Now),
            None,
            "a threshold of nought asks for nothing at once"
        );
    }

    #[test]
    fn other_thresholds_count_what_is_there() {
        let demand = Demand::new(0, 0);
        demand.deleted();
        let mut waiting = Box::pin(demand.wished(Wish::Now));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        demand.set(0, 1);
        assert_eq!(waiting.now_or_never(), Some(Wish::Now));
    }

    #[test]
    fn only_further_deletions_ask_anew() {
        let demand = Demand::new(0, 2);
        demand.add(Counts { changes: 2, deletions: 2 });
        let known = demand.known();
        let mut waiting = Box::pin(demand.wished_anew(known));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        demand.changed();
        assert_eq!(waiting.as_mut().now_or_never(), None);
        demand.deleted();
        assert_eq!(waiting.now_or_never(), Some(()));
    }

    #[test]
    fn who_waits_hears_of_what_comes() {
        let demand = Demand::new(0, 2);
        let mut waiting = Box::pin(demand.wished(Wish::Now));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        demand.deleted();
        assert_eq!(waiting.as_mut().now_or_never(), None);
        demand.deleted();
        assert_eq!(waiting.now_or_never(), Some(Wish::Now));
    }
}
