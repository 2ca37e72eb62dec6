//! What a start makes of activations: records and mounts agree afterwards.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use berth_lifecycle::Tasks;
use berth_mount::mountinfo;
use berth_store::Write;

use super::activate::forget;
use super::records::{ACTIVATIONS, Record};
use super::{Activations, Inner, clear, device};
use crate::Error;
use crate::snapshots::{Snapshots, blocking};

impl Activations {
    /// Opens the activations whose mounts are below `targets`. Directories and files for mounts are
    /// made below `roots` alone. What was begun is a task of `tasks`.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Mount`], [`Error::File`].
    pub async fn open(
        snapshots: &Snapshots,
        targets: PathBuf,
        mut roots: Vec<PathBuf>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let shared = snapshots.shared();
        let records: Vec<((String, String), Record)> = shared.store.read(|txn| {
            txn.range(&ACTIVATIONS, ())?.map(|row| row.map_err(Error::from)).collect()
        })?;
        let (below, known) = (targets.clone(), records);
        let (lost, next) = blocking("look at mounts", move || look(&below, &known)).await?;
        let drop_lost = move |txn: &Write| {
            lost.iter().try_for_each(|(namespace, name)| forget(txn, namespace, name).map(drop))
        };
        shared.store.commit("forget lost mounts", drop_lost).await?;
        roots.push(targets.clone());
        let (next, names, tasks) = (AtomicU64::new(next), Default::default(), tasks.clone());
        Ok(Self(Arc::new(Inner { shared, targets, roots, next, names, tasks })))
    }
}

type Lost = Vec<(String, String)>;

/// Clears what no whole record names. Answers the records that are without their mounts, and the
/// first free number.
fn look(targets: &Path, records: &[((String, String), Record)]) -> Result<(Lost, u64), Error> {
    let points: HashSet<PathBuf> =
        mountinfo::beneath(targets)?.into_iter().map(|mount| mount.mount_point).collect();
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for row in records {
        if row.1.whole && are_there(&row.1, &points)? { kept.push(row) } else { lost.push(row) }
    }
    let kept: HashSet<u64> = kept.iter().map(|(_, record)| record.id).collect();
    let failed = |source| Error::File { step: "list", path: targets.to_owned(), source };
    let mut highest = records.iter().map(|(_, record)| record.id).max().unwrap_or(0);
    for entry in fs_err::read_dir(targets).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        if number.is_none_or(|id| !kept.contains(&id)) {
            clear(&path)?;
        }
        highest = highest.max(number.unwrap_or(0));
    }
    let lost = lost.into_iter().map(|(place, _)| place.clone()).collect();
    Ok((lost, highest + 1))
}

/// Whether all is there that an activation has made.
pub(super) fn are_there(record: &Record, points: &HashSet<PathBuf>) -> Result<bool, Error> {
    for active in &record.active {
        if !points.contains(&active.point) && !device::is_attached(&active.point)? {
            return Ok(false);
        }
    }
    Ok(true)
}
