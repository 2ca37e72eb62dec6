//! What the store holds about proxied snapshotters, besides the snapshots' records.

use berth_ids::Namespace;
use berth_store::{Read, Table, Write};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::snapshots::Moment;

/// What a snapshot is called at its backend, by namespace, snapshotter and key.
pub(super) const NAMES: Table<(String, String, String), String> = Table::new("proxied_names");

/// What was made at backends, or was about to be, by snapshotter and name there.
pub(super) const MADE: Table<(String, String), Made> = Table::new("proxied_made");

/// Something at a backend that is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// In whose name it was made.
    pub namespace: String,
    /// The number that was given out for it: children have a higher one than their parents.
    pub number: u64,
    /// How many snapshots it stands for. Nobody's is removed.
    pub users: u64,
    /// The backend has answered: it is known whether it was made.
    pub settled: bool,
    /// When it was asked for.
    pub since: Moment,
    /// The name that it was about to be committed as.
    pub becomes: Option<String>,
}

impl Made {
    pub(super) fn about_to_be(namespace: &Namespace, number: u64) -> Self {
        let (namespace, since) = (namespace.to_string(), Moment::now());
        Self { namespace, number, users: 0, settled: false, since, becomes: None }
    }
}

/// Gives a snapshot the name that it has at its backend.
pub(super) fn refer(
    txn: &Write,
    (namespace, snapshotter, key): (&str, &str, &str),
    name: &str,
) -> Result<(), Error> {
    if let Some(mut made) = txn.get(&MADE, &(snapshotter, name))? {
        made.users += 1;
        made.settled = true;
        txn.put(&MADE, &(snapshotter, name), &made)?;
    }
    Ok(txn.put(&NAMES, &(namespace, snapshotter, key), &name.to_owned())?)
}

/// Forgets the name of a snapshot whose record goes. Harmless for those that have none.
pub(crate) fn forget(
    txn: &Write,
    place @ (_, snapshotter, _): (&str, &str, &str),
) -> Result<(), Error> {
    let Some(name) = txn.get(&NAMES, &place)? else { return Ok(()) };
    txn.delete(&NAMES, &place)?;
    if let Some(mut made) = txn.get(&MADE, &(snapshotter, &*name))? {
        made.users = made.users.saturating_sub(1);
        txn.put(&MADE, &(snapshotter, &*name), &made)?;
    }
    Ok(())
}

/// The highest number that was given out for what is still known.
pub(crate) fn highest(txn: &Read) -> Result<u64, Error> {
    let mut highest = 0;
    for row in txn.range(&MADE, ())? {
        highest = highest.max(row?.1.number);
    }
    Ok(highest)
}
