//! The open epoch: what was touched since it began, and which changes began before it.
//!
//! Every change of this service's objects enters here first and leaves when it is durable. While an
//! epoch is open a change names what it makes or newly refers to; the sweep leaves that alone.
//! Nobody waits for a collection: the collection waits for the changes that began before it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::node::Id;

/// The gate that changes pass.
#[derive(Default)]
pub struct Epochs(Mutex<Phase>);

#[derive(Default)]
struct Phase {
    open: Option<Arc<Epoch>>,
    last: u64,
    changes: TaskTracker,
}

/// An open epoch.
#[derive(Debug)]
pub struct Epoch {
    number: u64,
    touched: Mutex<HashSet<Id>>,
    spoiled: AtomicBool,
}

/// A change under way. Dropped when it is durable or given up.
pub struct Change {
    epoch: Option<Arc<Epoch>>,
    _token: TaskTrackerToken,
}

impl Epochs {
    /// Enters a change.
    pub fn enter(&self) -> Change {
        let phase = self.lock();
        Change { epoch: phase.open.clone(), _token: phase.changes.token() }
    }

    /// Opens an epoch. Changes that enter from now on are recorded.
    pub fn open(&self, number: u64) -> Arc<Epoch> {
        let epoch =
            Arc::new(Epoch { number, touched: Mutex::default(), spoiled: AtomicBool::new(false) });
        let mut phase = self.lock();
        phase.open = Some(epoch.clone());
        phase.last = number;
        epoch
    }

    /// Waits until all changes that have entered before this call have left.
    pub async fn settle(&self) {
        let earlier = std::mem::take(&mut self.lock().changes);
        earlier.close();
        earlier.wait().await;
    }

    /// The number of the last epoch.
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    /// Closes the epoch.
    pub fn close(&self) {
        self.lock().open = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Epoch {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Records that a thing is in use.
    pub fn touch(&self, id: Id) {
        self.set().insert(id);
    }

    /// Whether a thing was used since the epoch began.
    #[must_use]
    pub fn is_touched(&self, id: &Id) -> bool {
        self.set().contains(id)
    }

    /// All that was used since the epoch began.
    #[must_use]
    pub fn touched(&self) -> Vec<Id> {
        self.set().iter().cloned().collect()
    }

    /// Marks the epoch void: a reference could not be announced to its owner.
    pub fn spoil(&self) {
        self.spoiled.store(true, Ordering::SeqCst);
    }

    /// Whether the epoch is void.
    #[must_use]
    pub fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::SeqCst)
    }

    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<Id>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    /// The epoch that the change falls in.
    #[must_use]
    pub fn epoch(&self) -> Option<&Arc<Epoch>> {
        self.epoch.as_ref()
    }

    /// Records that a thing is made or referred to.
    pub fn touch(&self, id: &Id) {
        if let Some(epoch) = &self.epoch {
            epoch.touch(id.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn settling_waits_for_earlier_changes_alone() {
        let epochs = Epochs::default();
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
}
