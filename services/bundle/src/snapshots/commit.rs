//! Commit: an active snapshot, or a layer that was staged, becomes a parent for others.

use std::sync::Arc;

use berth_ids::Labels;
use berth_lifecycle::Held;
use berth_store::{Write, failpoint};

use super::create::{adopt_child, checked_labels};
use super::records::{LeaseRow, Moment, Record, SNAPSHOTS, validate_key};
use super::{Caller, Change, Entered, Kind, Shared, Snapshots, Usage, blocking};
use crate::Error;

/// A snapshot that is to be committed under a name.
pub(super) struct Naming {
    pub caller: Caller,
    pub snapshotter: &'static str,
    pub name: String,
    pub parent: String,
    pub labels: Labels,
    /// The change under way, until the commit is done or a backend is asked.
    entered: Option<Entered>,
}

impl Snapshots {
    /// Checks what a commit asks for and enters it as a change.
    pub(super) async fn naming(
        &self,
        caller: Caller,
        snapshotter: &str,
        name: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Naming, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        validate_key(name)?;
        let labels = checked_labels(labels)?;
        let entered = Some(self.shared.enter(caller.namespace.as_str(), &labels).await?);
        for used in [name, parent] {
            self.shared.rely_on(caller.namespace.as_str(), snapshotter, used).await?;
        }
        let (name, parent) = (name.to_owned(), parent.to_owned());
        Ok(Naming { caller, snapshotter, name, parent, labels, entered })
    }

    /// Commits the active snapshot `key` as `name`. One that was made without a parent may be put
    /// on `parent`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`] for the name, [`Error::State`] if it is not active.
    pub async fn commit(
        &self,
        caller: Caller,
        snapshotter: &str,
        name: &str,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<(), Error> {
        let naming = self.naming(caller, snapshotter, name, parent, labels).await?;
        let space = naming.caller.namespace.as_str();
        self.shared.rely_on(space, naming.snapshotter, key).await?;
        if let Some(proxied) = self.shared.proxied(naming.snapshotter) {
            return self.commit_proxied(proxied, naming, key).await;
        }
        let (namespace, snapshotter) = (naming.caller.namespace.clone(), naming.snapshotter);
        let taken = || Error::Exists { kind: "snapshot", name: name.to_owned() };
        let (shared, from) = (Arc::clone(&self.shared), key.to_owned());
        // A name that is taken comes before all that may be wrong with the key, as with containerd.
        if self.find(namespace.as_str(), snapshotter, name).is_ok() {
            let hold = move |txn: &Write| shared.is_free(txn, &naming);
            self.shared.store.commit("hold snapshot", hold).await?;
            return Err(taken());
        }
        let id = self.find(namespace.as_str(), snapshotter, key)?.id;
        let alone = self.shared.committing.alone(&id).await;
        // As it is now, with nobody else at it.
        let active = self.find(namespace.as_str(), snapshotter, key)?;
        // The committed one may get a directory of its own.
        let _making = self.shared.making.read().await;
        let (sealed, usage, alone) = self.seal(snapshotter, key, &active, alone).await?;
        let finish = move |txn: &Write| {
            let _until_committed = &alone;
            shared.finish(txn, &naming, &from, sealed, Some(usage))
        };
        let finished = self.shared.store.commit("commit snapshot", finish).await;
        self.end_commit(snapshotter, (active.id, sealed), matches!(finished, Ok(true))).await;
        if !finished? {
            return Err(taken());
        }
        let change = Change::Committed { key: key.to_owned(), name: name.to_owned() };
        self.tell(&namespace, snapshotter, change);
        Ok(())
    }

    /// Makes an active snapshot durable and counts what it takes. Answers the number that the
    /// committed one has. Who gives up lets others at it when that is done.
    async fn seal(
        &self,
        snapshotter: &'static str,
        key: &str,
        record: &Record,
        alone: Held<u64>,
    ) -> Result<(u64, Usage, Held<u64>), Error> {
        if record.kind != Kind::Active {
            return Err(not_active(key));
        }
        let (shared, id) = (Arc::clone(&self.shared), record.id);
        blocking("seal snapshot", move || {
            let new_id = || shared.new_id();
            let (sealed, usage) = shared.driver(snapshotter)?.commit(id, new_id)?;
            failpoint::file("snapshot", "sealed");
            Ok((sealed, usage, alone))
        })
        .await
    }

    /// What comes after a commit that was recorded or not. What fails is done by the next start.
    async fn end_commit(
        &self,
        snapshotter: &'static str,
        (id, sealed): (u64, u64),
        is_recorded: bool,
    ) {
        let shared = Arc::clone(&self.shared);
        let settled = blocking("settle snapshot", move || {
            let left = shared.driver(snapshotter)?.end_commit(id, sealed, is_recorded)?;
            left.into_iter().for_each(|path| shared.discard(snapshotter, path));
            failpoint::file("snapshot", "settled");
            Ok(())
        });
        if let Err(error) = settled.await {
            let error = berth_errors::chain(&error);
            tracing::warn!(snapshotter, id, error, "a commit leaves files for now");
        }
    }
}

impl Shared {
    /// Records that the caller's lease holds the name, and tells whether it is free.
    pub(super) fn is_free(&self, txn: &Write, naming: &Naming) -> Result<bool, Error> {
        let namespace = naming.caller.namespace.as_str();
        self.fences.check(namespace)?;
        self.hold(txn, &naming.caller, naming.snapshotter, &naming.name)?;
        Ok(txn.get(&SNAPSHOTS, &(namespace, naming.snapshotter, &*naming.name))?.is_none())
    }

    /// Records the commit of `key`. False, with nothing but the lease recorded, if the name is
    /// taken.
    pub(super) fn finish(
        &self,
        txn: &Write,
        naming: &Naming,
        key: &str,
        id: u64,
        usage: Option<Usage>,
    ) -> Result<bool, Error> {
        if !self.is_free(txn, naming)? {
            return Ok(false);
        }
        let (namespace, snapshotter) = (naming.caller.namespace.as_str(), naming.snapshotter);
        let place = (namespace, snapshotter, key);
        let missing = || Error::missing_snapshot(key);
        let active = txn.get(&SNAPSHOTS, &place)?.ok_or_else(missing)?;
        if active.kind != Kind::Active {
            return Err(not_active(key));
        }
        let mut record = naming.record(id, usage);
        // One that has a parent keeps it, whatever is asked for, as with containerd.
        match active.parent.is_empty() {
            true => adopt_child(txn, namespace, snapshotter, &naming.parent)?,
            false => record.parent = active.parent,
        }
        txn.put(&SNAPSHOTS, &(namespace, snapshotter, &*naming.name), &record)?;
        txn.delete(&SNAPSHOTS, &place)?;
        if let Some((lease, incarnation)) = &naming.caller.lease {
            LeaseRow::of_snapshot(*incarnation, snapshotter, key).delete(txn, namespace, lease)?;
        }
        Ok(true)
    }
}

impl Naming {
    /// The same, no change under way: nothing refers to what the labels name before a backend has
    /// answered, and no collection waits for one.
    pub(super) fn left(mut self) -> Self {
        self.entered = None;
        self
    }

    /// The record of the snapshot in directory `id`, committed now.
    pub(super) fn record(&self, id: u64, usage: Option<Usage>) -> Record {
        let now = Moment::now();
        Record {
            id,
            kind: Kind::Committed,
            parent: self.parent.clone(),
            labels: self.labels.clone(),
            created: now,
            updated: now,
            usage,
            children: 0,
        }
    }
}

pub(super) fn not_active(key: &str) -> Error {
    Error::State { what: "snapshot", name: key.to_owned(), reason: "it is not active" }
}
