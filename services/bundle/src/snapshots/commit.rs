//! Commit: an active snapshot, or a layer that was staged, becomes a parent for others.

use std::sync::Arc;

use berth_ids::Labels;
use berth_store::Write;

use super::create::{adopt_child, checked_labels, validate_key};
use super::records::{LeaseRow, Moment, Record, SNAPSHOTS};
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
        let active = self.find(namespace.as_str(), snapshotter, key)?;
        // The committed one may get a directory of its own.
        let _making = self.shared.making.read().await;
        let (sealed, usage) = self.seal(snapshotter, key, &active).await?;
        let finish = move |txn: &Write| shared.finish(txn, &naming, &from, sealed, Some(usage));
        let committed = self.shared.store.commit("commit snapshot", finish).await;
        if sealed != active.id {
            let over = if matches!(committed, Ok(true)) { active.id } else { sealed };
            let directory = self.shared.driver(snapshotter)?.directory(over);
            self.shared.discard(snapshotter, directory);
        }
        if !committed? {
            return Err(taken());
        }
        let change = Change::Committed { key: key.to_owned(), name: name.to_owned() };
        self.tell(&namespace, snapshotter, change);
        Ok(())
    }

    /// Makes an active snapshot durable and counts what it takes. Answers the number that the
    /// committed one has.
    async fn seal(
        &self,
        snapshotter: &'static str,
        key: &str,
        record: &Record,
    ) -> Result<(u64, Usage), Error> {
        if record.kind != Kind::Active {
            return Err(not_active(key));
        }
        let (shared, id) = (Arc::clone(&self.shared), record.id);
        blocking("seal snapshot", move || {
            let new_id = || shared.new_id();
            shared.driver(snapshotter)?.commit(id, new_id)
        })
        .await
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
