//! The member's side of a collection: what was used since an epoch began stays.
//!
//! Owns: the epoch that is open and the names touched in it. Must not know: who marks, or the
//! graph beyond its own nodes.
//!
//! A sweep looks at the touched names inside its commit, on the store's one writer thread. Whoever
//! keeps a node alive touches it before or inside a commit of its own: one of the two comes first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A node: namespace, kind, key.
pub type NodeKey = (String, String, String);

/// The open epoch, if there is one. Clones share it.
#[derive(Clone, Debug)]
pub struct Epochs {
    incarnation: u64,
    open: Arc<Mutex<Option<Epoch>>>,
}

#[derive(Debug)]
struct Epoch {
    number: u64,
    touched: HashSet<NodeKey>,
}

impl Default for Epochs {
    fn default() -> Self {
        // Two runs of the process differ: the time since 1970 in nanoseconds only grows.
        let since = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let incarnation = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { incarnation, open: Arc::default() }
    }
}

impl Epochs {
    /// Names this run of the process.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Opens an epoch in place of any that was left open.
    pub fn begin(&self, number: u64) {
        *self.lock() = Some(Epoch { number, touched: HashSet::new() });
    }

    /// Closes an epoch, if it is the open one.
    pub fn end(&self, number: u64) {
        let mut open = self.lock();
        if open.as_ref().is_some_and(|epoch| epoch.number == number) {
            *open = None;
        }
    }

    /// Whether this epoch is open.
    #[must_use]
    pub fn is_open(&self, number: u64) -> bool {
        self.lock().as_ref().is_some_and(|epoch| epoch.number == number)
    }

    /// Remembers, while an epoch is open, that a node was used.
    pub fn touch(&self, namespace: &str, kind: &str, key: &str) {
        if let Some(epoch) = self.lock().as_mut() {
            epoch.touched.insert((namespace.to_owned(), kind.to_owned(), key.to_owned()));
        }
    }

    /// Whether a node was used since the open epoch began.
    #[must_use]
    pub fn is_touched(&self, node: &NodeKey) -> bool {
        self.lock().as_ref().is_some_and(|epoch| epoch.touched.contains(node))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Epoch>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_epoch_remembers() {
        let epochs = Epochs::default();
        let node = ("ns".to_owned(), "snapshots/native".to_owned(), "a".to_owned());
        epochs.touch("ns", "snapshots/native", "a");
        assert!(!epochs.is_touched(&node));
        epochs.begin(1);
        epochs.touch("ns", "snapshots/native", "a");
        assert!(epochs.is_touched(&node) && epochs.is_open(1));
        epochs.end(7);
        assert!(epochs.is_open(1));
        epochs.begin(2);
        assert!(!epochs.is_touched(&node));
        epochs.end(2);
        assert!(!epochs.is_open(2));
    }
}
