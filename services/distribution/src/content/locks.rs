//! One lock per blob's file, held from before the file is put in place until a record names it, and
//! while a file that no record names is deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use berth_ids::Digest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Entries above which those that nobody holds are thrown away.
const PRUNE: usize = 1024;

/// The locks in use.
#[derive(Default)]
pub struct Locks(Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>);

impl Locks {
    /// Waits for the lock of a blob.
    pub async fn lock(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        self.entry(digest).lock_owned().await
    }

    fn entry(&self, digest: &Digest) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(digest).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= PRUNE {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(digest.clone(), Arc::downgrade(&lock));
        lock
    }
}
