//! What asks for a collection: deletions, many changes, a start, a caller that waits.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts of what happened since the last collection.
pub struct Demand {
    changes: AtomicUsize,
    deletions: AtomicUsize,
    changes_wanted: usize,
    deletions_wanted: usize,
    wake: Notify,
}

impl Demand {
    /// A collection is asked for by this many changes, or by this many deletions; 0: by none.
    #[must_use]
    pub fn new(changes_wanted: usize, deletions_wanted: usize) -> Self {
        Self {
            changes: AtomicUsize::new(0),
            deletions: AtomicUsize::new(0),
            changes_wanted,
            deletions_wanted,
            wake: Notify::new(),
        }
    }

    /// Something was made or changed.
    pub fn changed(&self) {
        let changes = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.changes_wanted > 0 && changes >= self.changes_wanted {
            self.wake.notify_one();
        }
    }

    /// Something was deleted.
    pub fn deleted(&self) {
        let deletions = self.deletions.fetch_add(1, Ordering::Relaxed) + 1;
        if self.deletions_wanted > 0 && deletions >= self.deletions_wanted {
            self.wake.notify_one();
        }
        self.changed();
    }

    /// Waits until a collection is asked for.
    pub async fn wanted(&self) {
        self.wake.notified().await;
    }

    /// Begins to count anew, as a collection begins.
    pub fn satisfied(&self) {
        self.changes.store(0, Ordering::Relaxed);
        self.deletions.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn asked(demand: &Demand) -> bool {
        demand.wanted().now_or_never().is_some()
    }

    #[test]
    fn deletions_ask_from_their_threshold_on() {
        let demand = Demand::new(0, 2);
        demand.deleted();
        assert!(!asked(&demand));
        demand.changed();
        assert!(!asked(&demand), "a change is no deletion");
        demand.deleted();
        assert!(asked(&demand));
        demand.satisfied();
        demand.deleted();
        assert!(!asked(&demand), "counted anew");
    }

    #[test]
    fn changes_ask_from_theirs_and_deletions_are_changes() {
        let demand = Demand::new(3, 0);
        demand.changed();
        demand.deleted();
        assert!(!asked(&demand));
        demand.changed();
        assert!(asked(&demand));
    }

    #[test]
    fn thresholds_of_nought_ask_for_nothing() {
        let demand = Demand::new(0, 0);
        for _ in 0..1000 {
            demand.changed();
            demand.deleted();
        }
        assert!(!asked(&demand));
    }
}
