//! Activations in a check of the node: their records and what is mounted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use berth_check::{Finding, Looked};
use berth_mount::mountinfo;

use super::records::{ACTIVATIONS, Record};
use super::recover::are_there;
use super::{Activations, clear};
use crate::Error;
use crate::check::{ACTIVATION_LOST, MOUNTS_WITHOUT_RECORD};
use crate::snapshots::blocking;

/// An activation's namespace and name, and its record.
type Row = ((String, String), Record);

impl Activations {
    /// Compares records with mounts.
    pub(crate) async fn check(&self) -> Result<Looked, Error> {
        let this = self.clone();
        blocking("check mounts", move || this.compare()).await
    }

    fn compare(&self) -> Result<Looked, Error> {
        // The directories first: whose record is made meanwhile has none here yet.
        let directories = directories(&self.0.targets)?;
        let points = points(&self.0.targets)?;
        let records = self.records()?;
        let mut findings = Vec::new();
        let known: HashSet<PathBuf> =
            records.iter().map(|(_, record)| self.target(record.id)).collect();
        for path in directories.iter().filter(|path| !known.contains(*path)) {
            let mounts = points.iter().filter(|point| point.starts_with(path)).count();
            let finding = Finding::new(MOUNTS_WITHOUT_RECORD, "", path.display().to_string());
            let wrong = format!("no activation has it, {mounts} mounts are in it");
            findings.push(finding.says(wrong, "a repair unmounts them and deletes it"));
        }
        for ((namespace, name), record) in &records {
            if record.whole && !are_there(record, &points)? {
                findings.push(lost(namespace, name, record, &points));
            }
        }
        Ok(Looked { examined: (records.len() + directories.len()) as u64, findings })
    }

    /// Mends a finding of [`Activations::check`], if it is as it was.
    pub(crate) async fn mend(&self, finding: &Finding) -> Result<bool, Error> {
        if finding.kind == MOUNTS_WITHOUT_RECORD {
            let (this, path) = (self.clone(), PathBuf::from(&finding.name));
            return blocking("clear mounts", move || this.clear_unknown(&path)).await;
        }
        let (namespace, name) = (&*finding.namespace, &*finding.name);
        let _alone = self.lock(namespace, name).await;
        let place = (namespace, name);
        let record = self.0.shared.store.read(|txn| txn.get(&ACTIVATIONS, &place))?;
        let Some(record) = record.filter(|record| record.whole) else { return Ok(false) };
        let points = points(&self.0.targets)?;
        if are_there(&record, &points)? || !lost(namespace, name, &record, &points).mendable {
            return Ok(false);
        }
        self.forget(namespace, name).await?;
        let target = self.target(record.id);
        blocking("clear mounts", move || clear(&target)).await?;
        Ok(true)
    }

    fn clear_unknown(&self, path: &Path) -> Result<bool, Error> {
        let known = self.records()?.iter().any(|(_, record)| self.target(record.id) == path);
        if known || !path.exists() {
            return Ok(false);
        }
        clear(path)?;
        Ok(true)
    }

    fn records(&self) -> Result<Vec<Row>, Error> {
        self.0
            .shared
            .store
            .read(|txn| txn.range(&ACTIVATIONS, ())?.map(|row| row.map_err(Error::from)).collect())
    }
}

fn points(targets: &Path) -> Result<HashSet<PathBuf>, Error> {
    Ok(mountinfo::beneath(targets)?.into_iter().map(|mount| mount.mount_point).collect())
}

fn directories(targets: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || fs_err::read_dir(targets)?.map(|entry| Ok(entry?.path())).collect();
    let listed: std::io::Result<Vec<PathBuf>> = list();
    listed.map_err(|source| Error::File { step: "list", path: targets.to_owned(), source })
}

/// What is left of an activation may be in use: a repair forgets one of which nothing is left.
fn lost(namespace: &str, name: &str, record: &Record, points: &HashSet<PathBuf>) -> Finding {
    let finding = Finding::new(ACTIVATION_LOST, namespace, name);
    let there = record.active.iter().filter(|active| points.contains(&active.point)).count();
    let all = record.active.len();
    let wrong = format!("{there} of its {all} mounts are there");
    match there {
        0 => finding.says(wrong, "a repair forgets it"),
        _ => finding.says(wrong, "end its container, and deactivate it").by_hand(),
    }
}
