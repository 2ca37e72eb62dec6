//! Commit: an active snapshot, or a layer that was staged, becomes a parent for others.

use std::sync::Arc;

use berth_ids::Labels;
use berth_store::Write;

use super::create::{adopt_child, checked_labels, validate_key};
use super::records::{LeaseRow, Moment, Record, SNAPSHOTS};
use super::{Caller, Change, Entered, Kind, Shared, Snapshots, Usage, blocking, durable};
use crate::Error;

/// A snapshot that is to be committed under a name.
pub(super) struct Naming {
    pub caller: Caller,
    pub snapshotter: &'static str,
    pub name: String,
    pub parent: String,
    pub labels: Labels,
    /// The change under way, until the commit is done.
    _entered: Entered,
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
        let _entered = self.shared.enter(caller.namespace.as_str(), &labels).await?;
        let (name, parent) = (name.to_owned(), parent.to_owned());
        Ok(Naming { caller, snapshotter, name, parent, labels, _entered })
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
        let (namespace, snapshotter) = (naming.caller.namespace.clone(), naming.snapshotter);
        let taken = || Error::Exists { kind: "snapshot", name: name.to_owned() };
        let (shared, from) = (Arc::clone(&self.shared), key.to_owned());
        // A name that is taken comes before all that may be wrong with the key, as with containerd.
        if self.find(namespace.as_str(), snapshotter, name).is_ok() {
            let hold = move |txn: &Write| shared.is_free(txn, &naming);
            self.shared.store.commit("hold snapshot", hold).await?;
            return Err(taken());
        }
        let usage = self.seal(namespace.as_str(), snapshotter, key).await?;
        let finish = move |txn: &Write| shared.finish(txn, &naming, &from, usage);
        if !self.shared.store.commit("commit snapshot", finish).await? {
            return Err(taken());
        }
        let change = Change::Committed { key: key.to_owned(), name: name.to_owned() };
        self.tell(&namespace, snapshotter, change);
        Ok(())
    }

    /// Makes an active snapshot durable and counts what it takes.
    async fn seal(
        &self,
        namespace: &str,
        snapshotter: &'static str,
        key: &str,
    ) -> Result<Usage, Error> {
        let record = self.find(namespace, snapshotter, key)?;
        if record.kind != Kind::Active {
            return Err(not_active(key));
        }
        let shared = Arc::clone(&self.shared);
        blocking("measure snapshot", move || {
            let driver = shared.driver(snapshotter)?;
            let path = driver.directory(record.id);
            durable::file_system(&path)?;
            driver.usage(&path)
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
    fn finish(&self, txn: &Write, naming: &Naming, key: &str, usage: Usage) -> Result<bool, Error> {
        if !self.is_free(txn, naming)? {
            return Ok(false);
        }
        let (namespace, snapshotter) = (naming.caller.namespace.as_str(), naming.snapshotter);
        let place = (namespace, snapshotter, key);
        let missing = || Error::NotFound { kind: "snapshot", name: key.to_owned() };
        let active = txn.get(&SNAPSHOTS, &place)?.ok_or_else(missing)?;
        if active.kind != Kind::Active {
            return Err(not_active(key));
        }
        let mut record = naming.record(active.id, usage);
        if active.parent != naming.parent {
            record.parent.clone_from(&active.parent);
            if !naming.parent.is_empty() {
                if !active.parent.is_empty() {
                    let (what, value) = ("parent", naming.parent.clone());
                    let reason = "the parent of an active snapshot cannot be changed on commit";
                    return Err(Error::Argument { what, value, reason });
                }
                adopt_child(txn, namespace, snapshotter, &naming.parent)?;
                record.parent.clone_from(&naming.parent);
            }
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
    /// The record of the snapshot in directory `id`, committed now.
    pub(super) fn record(&self, id: u64, usage: Usage) -> Record {
        let now = Moment::now();
        Record {
            id,
            kind: Kind::Committed,
            parent: self.parent.clone(),
            labels: self.labels.clone(),
            created: now,
            updated: now,
            usage: Some(usage),
            children: 0,
        }
    }
}

fn not_active(key: &str) -> Error {
    Error::State { what: "snapshot", name: key.to_owned(), reason: "it is not active" }
}
