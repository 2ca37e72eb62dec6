//! The gate that every change passes: fences around namespaces and open epochs of collection.
//!
//! A change holds a [`Pass`] from before its check until after its commit. Putting up a fence and
//! opening an epoch wait for the passes that are out: after that, what was committed without
//! heeding them is in the store to be read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use berth_ids::{Labels, Namespace};
use berth_mount::Mount;
use futures::future::BoxFuture;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::error::{Error, Result};
use crate::refs::{self, Ref};

/// The services that this one tells of its changes.
pub trait Neighbours: Send + Sync {
    /// Makes a namespace known to its owner.
    fn register<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>>;
    /// Tells the owner of an object that something here refers to it.
    fn pin<'a>(&'a self, namespace: &'a Namespace, to: &'a Ref) -> BoxFuture<'a, Result<()>>;
    /// What a snapshot is mounted by.
    fn mounts<'a>(
        &'a self,
        namespace: &'a Namespace,
        snapshotter: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Mount>>>;
}

/// Fences, epochs and the namespaces that their owner knows.
pub struct Gate {
    state: Arc<RwLock<State>>,
    neighbours: Arc<dyn Neighbours>,
    known: std::sync::Mutex<HashSet<Namespace>>,
    incarnation: u64,
}

#[derive(Default)]
struct State {
    fenced: HashSet<Namespace>,
    epoch: Option<u64>,
}

/// The right to change a namespace; held over the commit.
pub struct Pass {
    _state: OwnedRwLockReadGuard<State>,
}

impl Gate {
    /// A gate without fences. Its incarnation tells this run of the process from others.
    #[must_use]
    pub fn new(neighbours: Arc<dyn Neighbours>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let incarnation = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let (state, known) = (Arc::default(), std::sync::Mutex::default());
        Self { state, neighbours, known, incarnation }
    }

    /// Tells this run of the process from others.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Enters a change that will refer to `refs` and to what `labels` name.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::Peer`] when a namespace or a reference cannot be announced.
    pub async fn enter(&self, ns: &Namespace, refs: &[Ref], labels: &Labels) -> Result<Pass> {
        self.register(ns).await?;
        let state = self.state.clone().read_owned().await;
        if state.fenced.contains(ns) {
            return Err(Error::Fenced(ns.to_string()));
        }
        if state.epoch.is_some() {
            for to in refs.iter().cloned().chain(refs::of_labels(labels)) {
                self.neighbours.pin(ns, &to).await?;
            }
        }
        Ok(Pass { _state: state })
    }

    async fn register(&self, namespace: &Namespace) -> Result<()> {
        if self.known().contains(namespace) {
            return Ok(());
        }
        self.neighbours.register(namespace).await?;
        self.known().insert(namespace.clone());
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<Namespace>> {
        // Each change of the set is one call.
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts a fence up or takes it down. Up: no change of the namespace is under way any more. A
    /// namespace that was fenced must be registered anew.
    pub async fn fence(&self, namespace: &Namespace, up: bool) {
        let mut state = self.state.write().await;
        self.known().remove(namespace);
        if up {
            state.fenced.insert(namespace.clone());
        } else {
            state.fenced.remove(namespace);
        }
    }

    /// Opens an epoch: from now on every new reference is announced.
    pub async fn begin(&self, epoch: u64) {
        self.state.write().await.epoch = Some(epoch);
    }

    /// Closes an epoch, unless another is open.
    pub async fn end(&self, epoch: u64) {
        let mut state = self.state.write().await;
        if state.epoch == Some(epoch) {
            state.epoch = None;
        }
    }
}
