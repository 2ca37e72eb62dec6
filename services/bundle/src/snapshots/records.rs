//! What the store holds about snapshots.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use berth_ids::Labels;
use berth_store::{Read, Store, Table, Write};
use serde::{Deserialize, Serialize};

use super::node_kind;
use crate::Error;

/// Snapshots by namespace, snapshotter and key.
pub(crate) const SNAPSHOTS: Table<(String, String, String), Record> = Table::new("snapshots");

/// What leases hold, by namespace, lease and `INCARNATION/KIND ID`.
pub(crate) const LEASES: Table<(String, String, String), LeaseRow> = Table::new("leases");

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// To be read, never committed.
    View,
    /// To be written.
    Active,
    /// Finished, a parent of others.
    Committed,
}

/// What a snapshot takes on disk, without its parents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Files and directories.
    pub inodes: u64,
    /// Bytes.
    pub size: u64,
}

/// A snapshot's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Names its directory.
    pub id: u64,
    pub kind: Kind,
    /// Key of the parent in the same namespace, or empty.
    pub parent: String,
    pub labels: Labels,
    pub created: Moment,
    pub updated: Moment,
    /// Known of committed ones.
    pub usage: Option<Usage>,
    /// How many records name this one as their parent.
    pub children: u64,
}

/// A time, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment(pub u64, pub u32);

impl Moment {
    /// The time now.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs(), since.subsec_nanos())
    }

    /// As callers see it.
    pub(crate) fn time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(self.0, self.1)
    }
}

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its key or name.
    pub name: String,
    /// Its parent's name, or empty.
    pub parent: String,
    /// What it is for.
    pub kind: Kind,
    /// Its labels.
    pub labels: Labels,
    /// When it was made, or committed.
    pub created: SystemTime,
    /// When it was last changed.
    pub updated: SystemTime,
}

impl Record {
    /// What callers see.
    pub(crate) fn info(self, name: String) -> Info {
        let (created, updated) = (self.created.time(), self.updated.time());
        Info { name, parent: self.parent, kind: self.kind, labels: self.labels, created, updated }
    }
}

/// The numbers that records name, by snapshotter.
pub(super) fn numbers(txn: &Read) -> Result<HashMap<String, HashSet<u64>>, Error> {
    let mut known: HashMap<String, HashSet<u64>> = HashMap::new();
    for row in txn.range(&SNAPSHOTS, ())? {
        let ((_, snapshotter, _), record) = row?;
        known.entry(snapshotter).or_default().insert(record.id);
    }
    Ok(known)
}

/// Hands every snapshot to `each`: its namespace and snapshotter, what it is for, and what it takes.
pub(crate) fn every_snapshot(
    store: &Store,
    mut each: impl FnMut(&str, &str, Kind, Option<Usage>),
) -> Result<(), Error> {
    store.read(|txn| {
        for row in txn.range(&SNAPSHOTS, ())? {
            let ((namespace, snapshotter, _), record) = row?;
            each(&namespace, &snapshotter, record.kind, record.usage);
        }
        Ok(())
    })
}

/// A lease's hold on something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Which life of the lease.
    pub incarnation: u64,
    /// What kind of thing.
    pub kind: String,
    /// Its name.
    pub id: String,
}

impl LeaseRow {
    /// A hold on a snapshot.
    pub(crate) fn of_snapshot(incarnation: u64, snapshotter: &str, key: &str) -> Self {
        Self { incarnation, kind: node_kind(snapshotter), id: key.to_owned() }
    }

    /// The last part of its key.
    fn key(&self) -> String {
        format!("{:020}/{} {}", self.incarnation, self.kind, self.id)
    }

    /// Records it.
    pub(crate) fn put(&self, txn: &Write, namespace: &str, lease: &str) -> Result<(), Error> {
        Ok(txn.put(&LEASES, &(namespace, lease, &*self.key()), self)?)
    }

    /// Takes it away.
    pub(crate) fn delete(&self, txn: &Write, namespace: &str, lease: &str) -> Result<bool, Error> {
        Ok(txn.delete(&LEASES, &(namespace, lease, &*self.key()))?)
    }
}

/// A key has to be something.
pub(super) fn validate_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        let reason = "it must not be empty";
        return Err(Error::Argument { what: "snapshot key", value: String::new(), reason });
    }
    Ok(())
}
