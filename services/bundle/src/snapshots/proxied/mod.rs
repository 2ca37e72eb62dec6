//! Snapshotters that are processes of their own: others' programs behind a socket.
//!
//! Owns: what a snapshot is called there, what was made there, and what is still to be removed
//! there. Must not know: the wire; a [`Backend`] does.
//!
//! A backend knows no namespaces of ours: the name that it is given is `NAMESPACE/NUMBER/KEY`, a
//! number that is never used twice. Our own records hold kind, parent, labels and leases, as of any
//! snapshotter; `containerd.io/snapshot/` labels and the reference go to the backend as well.
//!
//! Invariants:
//! - What is about to be made has a row first ([`MADE`]): what nobody refers to is found by rows
//!   alone, so that nothing of anybody else is ever removed.
//! - No call is made inside a commit: a backend that hangs holds up its own callers, each for as
//!   long as the call's deadline, and neither the store's writer nor other snapshotters.
//! - A row goes after the backend has said that what it names is gone.

mod ask;
mod backend;
mod commit;
mod create;
mod read;
mod reap;
mod rows;
mod staging;

pub use backend::{Backend, Proxy, Work};
pub(super) use rows::{forget, highest};
pub(super) use staging::Extracted;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_ids::{Labels, Namespace};
use berth_lifecycle::{Held, Keyed};
use tokio::sync::{Notify, RwLock};

use super::REF_LABEL;

/// What begins a label that the backend is told too.
const INHERITED: &str = "containerd.io/snapshot/";

/// A proxied snapshotter and what is under way there.
pub(crate) struct Proxied {
    pub(crate) proxy: Proxy,
    /// Where layers are applied to mounts.
    temporary: PathBuf,
    /// Names at the backend that are about to be referred to.
    busy: Arc<Mutex<HashSet<String>>>,
    /// Held by whoever may take over a name that the backend has chosen, and alone by whoever
    /// removes one.
    adopting: RwLock<()>,
    /// Told when there may be something to remove.
    wake: Arc<Notify>,
    /// One change of a snapshot at a time.
    changing: Keyed<(Namespace, String)>,
}

impl Proxied {
    pub(super) fn new(proxy: Proxy, temporary: PathBuf) -> Self {
        let (busy, wake, changing) = Default::default();
        Self { proxy, temporary, busy, adopting: RwLock::default(), wake, changing }
    }

    pub(super) fn name(&self) -> &'static str {
        self.proxy.name
    }

    fn backend(&self) -> &dyn Backend {
        &*self.proxy.backend
    }

    /// Keeps a name from being removed at the backend, until the guard is dropped.
    fn busy(&self, name: &str) -> Busy {
        lock(&self.busy).insert(name.to_owned());
        let (busy, wake) = (Arc::clone(&self.busy), Arc::clone(&self.wake));
        Busy { busy, wake, name: name.to_owned() }
    }

    /// Waits for others that change a snapshot.
    async fn lock(&self, namespace: &Namespace, key: &str) -> Held<(Namespace, String)> {
        self.changing.alone(&(namespace.clone(), key.to_owned())).await
    }
}

/// A name at the backend that is in use. When it is dropped, somebody looks whether it still is.
pub(super) struct Busy {
    busy: Arc<Mutex<HashSet<String>>>,
    wake: Arc<Notify>,
    name: String,
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.busy).remove(&self.name);
        self.wake.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call: a panic elsewhere cannot have torn it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a snapshot is called at the backend.
fn name_of(namespace: &Namespace, number: u64, key: &str) -> String {
    format!("{namespace}/{number}/{key}")
}

/// The labels that the backend is told.
fn inherited(labels: &Labels) -> Labels {
    let passed = |key: &str| key == REF_LABEL || key.starts_with(INHERITED);
    labels.iter().filter(|(k, _)| passed(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}
