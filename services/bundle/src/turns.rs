//! How many layers are extracted or made at once.
//!
//! Owns: who has a turn. Must not know: what it is used for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns that are given out one after another. Clones share them.
///
/// They are for work that this machine does. Nobody has one while a process of others is asked:
/// one that hangs would hold up all the others.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "is held")] Option<OwnedSemaphorePermit>);

impl Turns {
    /// So many at once.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))))
    }

    /// How many can be taken without waiting, where there is a bound.
    #[must_use]
    pub fn free(&self) -> Option<usize> {
        Some(self.0.available_permits()).filter(|free| *free < Semaphore::MAX_PERMITS / 2)
    }

    /// Waits for one.
    pub async fn take(&self) -> Turn {
        // Nobody closes it.
        Turn(Arc::clone(&self.0).acquire_owned().await.ok())
    }
}

impl Default for Turns {
    /// As many as are wanted.
    fn default() -> Self {
        Self::new(Semaphore::MAX_PERMITS)
    }
}
