//! Commit: an active snapshot becomes a parent for others.

use std::sync::Arc;

use berth_ids::{Labels, validate_labels};
use berth_store::Write;
use rustix::fs::{CWD, Mode, OFlags};

use super::create::{adopt_child, validate_key};
use super::records::{LeaseRow, Moment, SNAPSHOTS};
use super::{Caller, Change, Kind, Shared, Snapshots, Usage, blocking};
use crate::Error;

/// A commit to be recorded.
struct Committing {
    caller: Caller,
    snapshotter: &'static str,
    key: String,
    name: String,
    labels: Labels,
    parent: String,
    usage: Usage,
}

impl Snapshots {
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
        let snapshotter = self.resolve(snapshotter)?;
        validate_key(name)?;
        validate_labels(&labels)?;
        let namespace = caller.namespace.clone();
        let record = self.find(namespace.as_str(), snapshotter, key)?;
        if record.kind != Kind::Active {
            return Err(not_active(key));
        }
        let shared = Arc::clone(&self.shared);
        let usage = blocking("measure snapshot", move || {
            let driver = shared.driver(snapshotter)?;
            let path = driver.directory(record.id);
            make_durable(&path)?;
            driver.usage(&path)
        })
        .await?;
        let (key, name, parent) = (key.to_owned(), name.to_owned(), parent.to_owned());
        let change = Change::Committed { key: key.clone(), name: name.clone() };
        let committing = Committing { caller, snapshotter, key, name, labels, parent, usage };
        let shared = Arc::clone(&self.shared);
        let taken = self
            .shared
            .store
            .commit("commit snapshot", move |txn| shared.finish(txn, &committing))
            .await?;
        if let Some(name) = taken {
            return Err(Error::Exists { kind: "snapshot", name });
        }
        self.tell(&namespace, snapshotter, change);
        Ok(())
    }
}

impl Shared {
    /// Records the commit. Some, with nothing but the lease recorded, if the name is taken.
    fn finish(&self, txn: &Write, c: &Committing) -> Result<Option<String>, Error> {
        let namespace = c.caller.namespace.as_str();
        self.fences.check(namespace)?;
        self.hold(txn, &c.caller, c.snapshotter, &c.name)?;
        let place = |key| (namespace.to_owned(), c.snapshotter.to_owned(), key);
        if txn.get(&SNAPSHOTS, &place(c.name.clone()))?.is_some() {
            return Ok(Some(c.name.clone()));
        }
        let missing = || Error::NotFound { kind: "snapshot", name: c.key.clone() };
        let mut record = txn.get(&SNAPSHOTS, &place(c.key.clone()))?.ok_or_else(missing)?;
        if record.kind != Kind::Active {
            return Err(not_active(&c.key));
        }
        if record.parent != c.parent && !c.parent.is_empty() {
            if !record.parent.is_empty() {
                let reason = "the parent of an active snapshot cannot be changed on commit";
                return Err(Error::Argument { what: "parent", value: c.parent.clone(), reason });
            }
            adopt_child(txn, namespace, c.snapshotter, &c.parent)?;
            record.parent = c.parent.clone();
        }
        record.kind = Kind::Committed;
        record.labels = c.labels.clone();
        record.created = Moment::now();
        record.updated = record.created;
        record.usage = Some(c.usage);
        txn.put(&SNAPSHOTS, &place(c.name.clone()), &record)?;
        txn.delete(&SNAPSHOTS, &place(c.key.clone()))?;
        if let Some((lease, incarnation)) = &c.caller.lease {
            LeaseRow::of_snapshot(*incarnation, c.snapshotter, &c.key)
                .delete(txn, namespace, lease)?;
        }
        Ok(None)
    }
}

fn not_active(key: &str) -> Error {
    Error::State { what: "snapshot", name: key.to_owned(), reason: "it is not active" }
}

/// Flushes the file system that `path` is on.
pub(super) fn make_durable(path: &std::path::Path) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = rustix::fs::openat(CWD, path, flags, Mode::empty()).and_then(rustix::fs::syncfs);
    synced.map_err(|errno| Error::File {
        step: "flush",
        path: path.to_owned(),
        source: errno.into(),
    })
}
