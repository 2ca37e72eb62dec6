//! What the parts of the domain share: one store, one set of files, one open epoch.

use std::sync::Arc;

use berth_config::Sharing;
use berth_ids::{Digest, Labels, validate_labels};
use berth_lifecycle::{Keyed, Tasks};
use berth_store::Store;

use crate::content::files::Files;
use crate::content::ingests::Ingests;
use crate::content::there::There;
use crate::error::{Error, Result};
use crate::events::{Event, Events};
use crate::gc::demand::Demand;
use crate::gc::epoch::{Change, Epochs};
use crate::gc::id::Id;
use crate::gc::labels;
use crate::neighbour::Peers;
use crate::scope::Scope;
use crate::streams::kept::Kept;

/// The shared parts. Every domain handle has an `Arc` of it.
pub struct Shared {
    /// The records.
    pub store: Store,
    /// The blobs' files.
    pub files: Files,
    /// Where the bytes of blobs are, if not in files.
    pub there: Option<There>,
    /// By blob: held from before its file is put in place until a record names it, and while a file that no
    /// record names is deleted.
    pub blob_locks: Keyed<Digest>,
    /// What is being written.
    pub ingests: Ingests,
    /// The streams that leases keep.
    pub streams: Kept,
    /// Whether namespaces share blobs.
    pub sharing: Sharing,
    /// Where events go.
    pub events: Events,
    /// The gate of changes.
    pub epochs: Epochs,
    /// What asks for collections.
    pub demand: Demand,
    /// The other services.
    pub peers: Peers,
    /// Where work goes on whose caller has left.
    pub tasks: Tasks,
}

impl Shared {
    /// Enters a change that makes or refers to `ids`, and to what `labels` name. The commit's closure
    /// is to own it, so that it ends with the commit even if nobody waits for that any more.
    ///
    /// # Errors
    /// As [`Shared::announce`].
    pub async fn change(&self, scope: &Scope, ids: &[Id], labels: &Labels) -> Result<Change> {
        let change = self.epochs.enter();
        for id in ids {
            self.rely(&change, id).await?;
        }
        for id in labels::may_refer(&scope.namespace, labels) {
            self.announce(&change, &id).await?;
        }
        Ok(change)
    }

    /// Tells the owner of a thing that the change refers to it, unless it is known that nobody sweeps.
    ///
    /// # Errors
    /// [`Error::Neighbour`] when the owner cannot be told: it may be about to drop the thing.
    pub async fn announce(&self, change: &Change, id: &Id) -> Result<()> {
        self.rely(change, id).await?;
        if !change.is_quiet() {
            self.pin(id, false).await?;
        }
        Ok(())
    }

    /// Counts a thing as used. If a flat lease alone kept it, so is all that it refers to, and the owners
    /// of that are told.
    async fn rely(&self, change: &Change, id: &Id) -> Result<()> {
        let whole = change.touch(id);
        for id in whole.things() {
            change.touch(id);
            self.pin(id, true).await?;
        }
        whole.told();
        Ok(())
    }

    /// Tells a neighbour that something here is about to refer to a thing of its.
    ///
    /// # Errors
    /// [`Error::Neighbour`].
    pub async fn pin(&self, id: &Id, alone: bool) -> Result<()> {
        for peer in self.peers.iter().filter(|peer| peer.owns(&id.kind)) {
            peer.pin(id, alone).await?;
        }
        Ok(())
    }

    /// Tells an event.
    pub fn tell(&self, scope: &Scope, event: &Event) {
        self.events.publish(&scope.namespace, event);
    }

    /// Runs work as a task of its own: it comes to its end also if nobody waits for that any more.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Worker`] when it panicked, [`Error::Stopping`] when the process ends.
    pub async fn to_its_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let ended = self.tasks.spawn(name, work).await;
        ended.map_err(|ended| match ended.is_cancelled() {
            true => Error::Stopping(name),
            false => Error::Worker(name),
        })?
    }

    /// Runs what blocks on a thread for that.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Worker`] when it panicked.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(|_| Error::Worker(name))?
    }
}

/// Checks labels and leaves out those without a value, as containerd does.
///
/// # Errors
/// [`Error::Label`].
pub fn clean_labels(object: &'static str, mut labels: Labels) -> Result<Labels> {
    validate_labels(&labels).map_err(|source| Error::Label { object, source })?;
    labels.retain(|_, value| !value.is_empty());
    Ok(labels)
}

/// A change of a set of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    /// Leave them.
    Keep,
    /// Put these in place of all.
    Replace(Labels),
    /// Set these; an empty value removes.
    Set(Labels),
}

impl LabelChange {
    /// Makes the change.
    pub fn apply(&self, labels: &mut Labels) {
        match self {
            Self::Keep => {}
            Self::Replace(new) => labels.clone_from(new),
            Self::Set(some) => labels.extend(some.clone()),
        }
        labels.retain(|_, value| !value.is_empty());
    }

    /// What it brings in.
    #[must_use]
    pub fn new_labels(&self) -> Labels {
        match self {
            Self::Keep => Labels::new(),
            Self::Replace(new) | Self::Set(new) => new.clone(),
        }
    }
}
