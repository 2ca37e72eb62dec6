//! What a start clears away: directories that were made, staged or half deleted when the process
//! last ended. Mounts of snapshots are left alone; whoever made them goes on using them.

use std::collections::HashSet;
use std::thread::JoinHandle;

use berth_store::{Store, failpoint};

use super::Kind;
use super::driver::{Absent, Driver};
use super::records::{Record, SNAPSHOTS, numbers};
use super::remove::{empty, trash_unknown};
use crate::Error;

/// Makes directories and records agree. Answers the first number that is free, and the threads that
/// empty the trash.
pub(super) fn run(store: &Store, drivers: &[Driver]) -> Result<(u64, Vec<JoinHandle<()>>), Error> {
    let mut emptying = Vec::new();
    let known = store.read(numbers)?;
    let proxied = store.read(super::proxied::highest)?;
    let none = HashSet::new();
    for driver in drivers {
        let known = known.get(driver.name()).unwrap_or(&none);
        trash_unknown(driver, known)?;
        empty(driver.deletion(), &driver.root().join("staging"))?;
        failpoint::file("staging", "emptied");
    }
    remake_missing(store, drivers)?;
    end_commits(store, drivers)?;
    // Last: what is done before may put something there.
    for driver in drivers {
        // Deleting takes its time with large trees, and nobody waits for it.
        let (deletion, trash) = (driver.deletion(), driver.trash());
        let thread = std::thread::Builder::new()
            .name("empty trash".to_owned())
            .spawn(move || {
                if let Err(error) = empty(deletion, &trash) {
                    tracing::warn!(error = berth_errors::chain(&error), "the trash is not empty");
                }
                failpoint::file("trash", "emptied");
            })
            .map_err(|source| Error::File {
                step: "start to empty",
                path: driver.trash(),
                source,
            })?;
        emptying.push(thread);
    }
    let highest = known.values().flatten().max().copied().unwrap_or(0);
    Ok((highest.max(proxied) + super::FIRST, emptying))
}

/// The drivers whose snapshots are where they are looked for. One that needs more than any file
/// system has is left out where they are not; that of the node's own kind is not.
///
/// # Errors
/// [`Error::State`] for one of those.
pub(super) fn present(
    store: &Store,
    drivers: Vec<Driver>,
    absent: &mut Vec<Absent>,
) -> Result<Vec<Driver>, Error> {
    let mut present = Vec::new();
    for driver in drivers {
        match is_here(store, &driver) {
            Ok(()) => present.push(driver),
            Err(why) if driver.is_special() => {
                let name = driver.name();
                tracing::error!(error = berth_errors::chain(&why), "no {name} here");
                absent.push(Absent { name, why });
            }
            Err(why) => return Err(why),
        }
    }
    Ok(present)
}

/// Whether snapshots that are committed, which no crash takes away, are where they are looked for: a
/// folder that is configured may have been another before.
fn is_here(store: &Store, driver: &Driver) -> Result<(), Error> {
    let committed: Vec<u64> = store.read(|txn| {
        let mut committed = Vec::new();
        for row in txn.range(&SNAPSHOTS, ())? {
            let ((_, snapshotter, _), record) = row?;
            if snapshotter == driver.name() && record.kind == Kind::Committed {
                committed.push(record.id);
            }
        }
        Ok::<_, Error>(committed)
    })?;
    if committed.is_empty() || committed.iter().any(|id| driver.directory(*id).exists()) {
        return Ok(());
    }
    let (what, name) = ("folder of snapshots", driver.root().display().to_string());
    let reason = "none of those that are recorded is there, correct root_path";
    Err(Error::State { what, name, reason })
}

/// Ends what was cut off of commits. One that cannot be is its snapshot's trouble alone.
fn end_commits(store: &Store, drivers: &[Driver]) -> Result<(), Error> {
    store.read(|txn| {
        for row in txn.range(&SNAPSHOTS, ())? {
            let ((namespace, snapshotter, key), record) = row?;
            let driver = drivers.iter().find(|driver| driver.name() == snapshotter);
            let Some(driver) = driver else { continue };
            if let Err(error) = driver.recover(&driver.directory(record.id), record.kind) {
                let error = berth_errors::chain(&error);
                tracing::warn!(namespace, snapshotter, key, error, "its commit is not ended");
            }
        }
        Ok(())
    })
}

/// A power cut may take the directory of a snapshot that was recorded but never written to, since
/// only commits flush files. Such a directory was empty, and is made again.
fn remake_missing(store: &Store, drivers: &[Driver]) -> Result<(), Error> {
    let missing: Vec<((String, String, String), Record)> = store.read(|txn| {
        let mut missing = Vec::new();
        for row in txn.range(&SNAPSHOTS, ())? {
            let ((namespace, snapshotter, key), record) = row?;
            let driver = drivers.iter().find(|driver| driver.name() == snapshotter);
            let Some(driver) = driver else { continue };
            if record.kind != Kind::Committed && !driver.directory(record.id).exists() {
                missing.push(((namespace, snapshotter, key), record));
            }
        }
        Ok::<_, Error>(missing)
    })?;
    for (place, record) in missing {
        let (namespace, snapshotter, key) = &place;
        let Some(driver) = drivers.iter().find(|driver| driver.name() == snapshotter) else {
            continue;
        };
        // A parent that was lost is its snapshots' trouble alone.
        if let Err(error) = remake(store, driver, &place, &record) {
            let error = berth_errors::chain(&error);
            tracing::error!(namespace, snapshotter, key, error, "its directory is lost");
        }
    }
    Ok(())
}

/// Makes the directory of a snapshot that is not committed again.
pub(super) fn remake(
    store: &Store,
    driver: &Driver,
    place: &(String, String, String),
    record: &Record,
) -> Result<(), Error> {
    let (namespace, snapshotter, key) = place;
    let parents =
        store.read(|txn| super::read::chain(txn, namespace, snapshotter, &record.parent))?;
    let path = driver.directory(record.id);
    driver.create(&path, record.kind, &parents)?;
    failpoint::file("lost snapshot", "made again");
    tracing::warn!(namespace, snapshotter, key, "made a lost directory again");
    // Labels can be changed afterwards: a bad one is its snapshot's trouble alone.
    let wanted = super::mapping::Owners::of(&record.labels);
    let mapped = wanted.and_then(|wanted| driver.map(&path, &parents, wanted.as_ref()));
    if let Err(error) = mapped {
        let error = berth_errors::chain(&error);
        tracing::warn!(namespace, snapshotter, key, error, "its owners are not mapped");
    }
    Ok(())
}
