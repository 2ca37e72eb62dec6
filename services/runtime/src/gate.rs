//! The gate that every change passes: fences around namespaces and open epochs of collection.
//!
//! A change holds a [`Pass`] from before its check until after its commit. Putting up a fence and
//! opening an epoch wait for the passes that are out: after that, what was committed without
//! heeding them is in the store to be read. What a change refers to is announced to its owner unless
//! it is known that nobody sweeps.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_epochs::{Change, Epochs, News};
use berth_ids::{Labels, Namespace};
use berth_mount::Mount;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::refs::{self, Ref};

/// A root file system of which another service has made a part.
pub struct Activated {
    /// What is left for the shim.
    pub mounts: Vec<Mount>,
    /// Whether this call made it; else it was there.
    pub made: bool,
}

/// The services that this one tells of its changes.
pub trait Neighbours: Send + Sync {
    /// Makes a namespace known to its owner.
    fn register<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>>;
    /// Asks the owner of leases for one.
    fn lease<'a>(&'a self, namespace: &'a Namespace, lease: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Tells the owner of an object that something here refers to it.
    fn pin<'a>(&'a self, namespace: &'a Namespace, to: &'a Ref) -> BoxFuture<'a, Result<()>>;
    /// Has the mounts of a container's root file system made that a shim cannot make by itself;
    /// answers what is left for the shim, or nothing if that is all as it is. What is there for the
    /// container already is taken as it is.
    fn activate<'a>(
        &'a self,
        namespace: &'a Namespace,
        container: &'a str,
        mounts: &'a [Mount],
    ) -> BoxFuture<'a, Result<Option<Activated>>>;
    /// Undoes that.
    fn deactivate<'a>(
        &'a self,
        namespace: &'a Namespace,
        container: &'a str,
    ) -> BoxFuture<'a, Result<()>>;
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
    epochs: Epochs<()>,
    news: News,
    fenced: Mutex<HashSet<Namespace>>,
    neighbours: Arc<dyn Neighbours>,
    known: Mutex<HashSet<Namespace>>,
}

/// The right to change a namespace. A commit's closure owns it, so that it ends with the commit
/// even if nobody waits for that any more.
pub struct Pass {
    _change: Change<()>,
}

impl Gate {
    /// A gate without fences. Its incarnation tells this run of the process from others.
    #[must_use]
    pub fn new(neighbours: Arc<dyn Neighbours>) -> Self {
        Self {
            epochs: Epochs::default(),
            news: News::default(),
            fenced: Mutex::default(),
            neighbours,
            known: Mutex::default(),
        }
    }

    /// Tells this run of the process from others.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.epochs.incarnation()
    }

    /// Enters a change that will refer to `refs` and to what `labels` name.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::Peer`] when a namespace or a reference cannot be announced.
    pub async fn enter(&self, ns: &Namespace, refs: &[Ref], labels: &Labels) -> Result<Pass> {
        self.register(ns).await?;
        // Entered first: whoever puts up a fence either is seen here or waits for this change.
        self.news.changed();
        let change = self.epochs.enter();
        if lock(&self.fenced).contains(ns) {
            return Err(Error::Fenced(ns.to_string()));
        }
        if !change.is_quiet() {
            for to in refs.iter().cloned().chain(refs::of_labels(labels)) {
                self.neighbours.pin(ns, &to).await?;
            }
        }
        Ok(Pass { _change: change })
    }

    /// Checks that the lease under which a change is made is there. It holds nothing here, but a
    /// client whose lease has ended is to learn of that. It is asked for each time: a lease that
    /// expires is announced to nobody.
    ///
    /// # Errors
    /// [`Error::Peer`], with NOT_FOUND for a lease that is not there.
    pub async fn under(&self, ns: &Namespace, lease: Option<&str>) -> Result<()> {
        match lease {
            Some(lease) => self.neighbours.lease(ns, lease).await,
            None => Ok(()),
        }
    }

    async fn register(&self, namespace: &Namespace) -> Result<()> {
        if lock(&self.known).contains(namespace) {
            return Ok(());
        }
        self.neighbours.register(namespace).await?;
        lock(&self.known).insert(namespace.clone());
        Ok(())
    }

    /// What was changed since it was told last.
    #[must_use]
    pub fn news(&self) -> &News {
        &self.news
    }

    /// Puts a fence up or takes it down. Up: no change of the namespace is under way any more. A
    /// namespace that was fenced must be registered anew.
    pub async fn fence(&self, namespace: &Namespace, up: bool) {
        lock(&self.known).remove(namespace);
        if up {
            lock(&self.fenced).insert(namespace.clone());
            self.epochs.settle().await;
            // Registered by a change that had entered before.
            lock(&self.known).remove(namespace);
        } else {
            lock(&self.fenced).remove(namespace);
        }
    }

    /// Opens an epoch: from now on every new reference is announced, and what was not is in the
    /// store to be read.
    pub async fn begin(&self, epoch: u64) {
        self.epochs.open(epoch);
        self.epochs.settle().await;
    }

    /// Checks that an epoch is open in this run.
    ///
    /// # Errors
    /// [`Error::Epoch`].
    pub fn in_epoch(&self, epoch: u64) -> Result<()> {
        self.epochs.opened(epoch).map(drop).ok_or(Error::Epoch(epoch))
    }

    /// Closes an epoch, unless another is open.
    pub fn end(&self, epoch: u64) {
        self.epochs.close(epoch);
    }
}

/// Each change of these sets is one call.
fn lock<T>(set: &Mutex<HashSet<T>>) -> MutexGuard<'_, HashSet<T>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
