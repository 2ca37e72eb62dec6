//! Snapshots in a check of the node: records and directories are compared, and mended.
//!
//! Owns: what of a snapshotter's folders belongs to nothing. Must not know: who asks.
//!
//! What a repair deletes has no record, found with the lock under which directories are made. A
//! committed snapshot without its directory is left to people: others may be on it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use berth_check::{Finding, Looked};
use berth_store::{Read, Write};

use super::driver::Driver;
use super::records::{Record, SNAPSHOTS, numbers};
use super::remove::entries;
use super::staging::Staged;
use super::{Kind, Shared, Snapshots, blocking, recover};
use crate::Error;
use crate::check::{
    CHILDREN_WRONG, DIRECTORY_WITHOUT_RECORD, PARENT_LOST, SNAPSHOT_LOST, STAGING_UNKNOWN,
    TRASH_LEFT,
};

const DELETES: &str = "a repair deletes it";
const PULL_AGAIN: &str = "remove it and what is on it (ctr snapshots rm), pull its image again";

type Row = ((String, String, String), Record);

impl Snapshots {
    /// Compares records and directories. `alone`: while nobody makes directories.
    pub(crate) async fn check(&self, alone: bool) -> Result<Looked, Error> {
        let _making = match alone {
            true => Some(self.shared.making.write().await),
            false => None,
        };
        let shared = Arc::clone(&self.shared);
        blocking("check snapshots", move || shared.compare()).await
    }

    /// Mends a finding of [`Snapshots::check`], if it is as it was.
    pub(crate) async fn mend(&self, finding: &Finding) -> Result<bool, Error> {
        if finding.kind == CHILDREN_WRONG {
            return self.count_children(finding).await;
        }
        let _making = self.shared.making.write().await;
        let (shared, finding) = (Arc::clone(&self.shared), finding.clone());
        blocking("mend snapshots", move || match finding.kind {
            SNAPSHOT_LOST => shared.remake(&finding),
            _ => shared.delete_orphan(&finding),
        })
        .await
    }

    async fn count_children(&self, finding: &Finding) -> Result<bool, Error> {
        let Some((snapshotter, key)) = parts(&finding.name) else { return Ok(false) };
        let place = (finding.namespace.clone(), snapshotter, key);
        let count = move |txn: &Write| {
            let Some(mut record) = txn.get(&SNAPSHOTS, &place)? else { return Ok(false) };
            let mut children = 0;
            for row in txn.range(&SNAPSHOTS, (place.0.as_str(), place.1.as_str()))? {
                children += u64::from(row?.1.parent == place.2);
            }
            if record.children == children {
                return Ok(false);
            }
            record.children = children;
            txn.put(&SNAPSHOTS, &place, &record)?;
            Ok::<_, Error>(true)
        };
        self.shared.store.commit("count children", count).await
    }
}

impl Shared {
    fn compare(&self) -> Result<Looked, Error> {
        let rows = self.store.read(rows)?;
        let mut findings = self.related(&rows);
        let mut examined = rows.len() as u64;
        for ((namespace, snapshotter, key), record) in &rows {
            let Ok(driver) = self.driver(snapshotter) else { continue };
            if !driver.directory(record.id).exists() {
                findings.push(lost(namespace, driver.name(), key, record));
            }
        }
        for driver in &self.drivers {
            let orphans = self.orphans(driver)?;
            examined += orphans.len() as u64;
            findings.extend(orphans);
        }
        Ok(Looked { examined, findings })
    }

    /// What is wrong between records: parents and how many children they have.
    fn related(&self, rows: &[Row]) -> Vec<Finding> {
        let own = || rows.iter().filter(|((_, name, _), _)| self.driver(name).is_ok());
        let mut children: HashMap<(&str, &str, &str), u64> = HashMap::new();
        for ((namespace, snapshotter, _), record) in own() {
            let parent = (namespace.as_str(), snapshotter.as_str(), record.parent.as_str());
            *children.entry(parent).or_default() += 1;
        }
        let names: HashSet<_> = own().map(|((a, b, c), _)| (&**a, &**b, &**c)).collect();
        let mut findings = Vec::new();
        for ((namespace, snapshotter, key), record) in own() {
            let finding = |kind| Finding::new(kind, namespace, name(snapshotter, key));
            let (space, own) = (namespace.as_str(), snapshotter.as_str());
            let parent = record.parent.as_str();
            if !parent.is_empty() && !names.contains(&(space, own, parent)) {
                let wrong = format!("there is no record of its parent {parent}");
                findings.push(finding(PARENT_LOST).says(wrong, PULL_AGAIN).by_hand());
            }
            let count = children.get(&(space, own, key.as_str())).copied().unwrap_or(0);
            if count != record.children {
                let wrong = format!("{} are counted, it has {count}", record.children);
                findings.push(finding(CHILDREN_WRONG).says(wrong, "a repair counts them"));
            }
        }
        findings
    }

    /// What lies in a snapshotter's folders and belongs to nothing.
    fn orphans(&self, driver: &Driver) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let mut tell = |kind, path: &Path, wrong: &str| {
            let finding = Finding::new(kind, "", path.display().to_string());
            findings.push(finding.says(wrong, DELETES));
        };
        // The directories first: a snapshot that is made meanwhile has its record by then.
        let directories = entries(&driver.root().join("snapshots"))?;
        let known = self.known(driver)?;
        for path in directories.iter().filter(|path| !is_of(path, &known)) {
            tell(DIRECTORY_WITHOUT_RECORD, path, "no snapshot has this directory");
        }
        let staging = entries(&driver.root().join("staging"))?;
        if let Some(known) = self.staged(driver) {
            for path in staging.iter().filter(|path| !is_of(path, &known)) {
                tell(STAGING_UNKNOWN, path, "no pull has staged it");
            }
        }
        if self.is_deleting() {
            return Ok(findings);
        }
        for path in entries(&driver.trash())? {
            tell(TRASH_LEFT, &path, "nobody is deleting it");
        }
        Ok(findings)
    }

    fn known(&self, driver: &Driver) -> Result<HashSet<u64>, Error> {
        Ok(self.store.read(numbers)?.remove(driver.name()).unwrap_or_default())
    }

    /// The numbers of staged layers; nothing while one is being extracted, whose number is not
    /// known yet.
    fn staged(&self, driver: &Driver) -> Option<HashSet<u64>> {
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let own = staged.iter().filter(|((_, name, _), _)| *name == driver.name());
        own.map(|(_, staged)| match staged {
            Staged::Ready { id, .. } => Some(*id),
            Staged::Busy | Staged::There { .. } => None,
        })
        .collect()
    }

    fn is_deleting(&self) -> bool {
        !self.deletions.is_empty() || self.emptying.iter().any(|thread| !thread.is_finished())
    }

    /// Deletes what is found to belong to nothing once more. The caller keeps others from making
    /// directories.
    fn delete_orphan(&self, finding: &Finding) -> Result<bool, Error> {
        for driver in &self.drivers {
            let now = self.orphans(driver)?;
            if !now.iter().any(|now| (now.kind, &now.name) == (finding.kind, &finding.name)) {
                continue;
            }
            let path = PathBuf::from(&finding.name);
            if finding.kind == TRASH_LEFT {
                driver.deletion()(&path)?;
                return Ok(true);
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let target = driver.trash().join(format!("{}-{name}", self.new_id()));
            let thrown = driver.throw_away(&path, &target);
            let step = "move to the trash";
            if thrown.map_err(|source| Error::File { step, path, source })? {
                driver.deletion()(&target)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Makes the directory of a snapshot that was not committed again, as a start does.
    fn remake(&self, finding: &Finding) -> Result<bool, Error> {
        let Some((snapshotter, key)) = parts(&finding.name) else { return Ok(false) };
        let place = (finding.namespace.clone(), snapshotter, key);
        let Some(record) = self.store.read(|txn| txn.get(&SNAPSHOTS, &place))? else {
            return Ok(false);
        };
        let driver = self.driver(&place.1)?;
        if record.kind == Kind::Committed || driver.directory(record.id).exists() {
            return Ok(false);
        }
        recover::remake(&self.store, driver, &place, &record)?;
        Ok(true)
    }
}

fn rows(txn: &Read) -> Result<Vec<Row>, Error> {
    txn.range(&SNAPSHOTS, ())?.map(|row| row.map_err(Error::from)).collect()
}

fn lost(namespace: &str, snapshotter: &str, key: &str, record: &Record) -> Finding {
    let finding = Finding::new(SNAPSHOT_LOST, namespace, name(snapshotter, key));
    let wrong = format!("its directory {} is gone", record.id);
    match record.kind {
        Kind::Committed => finding.says(wrong, PULL_AGAIN).by_hand(),
        _ => finding.says(wrong, "a repair makes it again, with nothing written to it"),
    }
}

/// Whether a directory's name is one of these numbers.
fn is_of(path: &Path, known: &HashSet<u64>) -> bool {
    let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
    number.is_some_and(|number| known.contains(&number))
}

fn name(snapshotter: &str, key: &str) -> String {
    format!("{snapshotter}/{key}")
}

/// Snapshotter and key. No snapshotter has a slash in its name.
fn parts(name: &str) -> Option<(String, String)> {
    name.split_once('/').map(|(snapshotter, key)| (snapshotter.to_owned(), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use berth_store::{Options, Store};
    use futures::future::BoxFuture;

    use super::*;
    use crate::gc::{NodeKey, Owners};
    use crate::snapshots::Moment;

    struct Nobody;

    impl Owners for Nobody {
        fn pin(&self, _: NodeKey, _: bool) -> BoxFuture<'_, Result<(), Error>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn record(id: u64, parent: &str, children: u64) -> Record {
        let (labels, created, updated) = (Default::default(), Moment::now(), Moment::now());
        let (kind, parent) = (Kind::Committed, parent.to_owned());
        Record { id, kind, parent, labels, created, updated, usage: None, children }
    }

    #[tokio::test]
    async fn children_are_counted_and_lost_parents_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("s"), Options::default()).unwrap();
        let write = |txn: &Write| {
            txn.put(&SNAPSHOTS, &("n", "native", "below"), &record(1, "", 7))?;
            txn.put(&SNAPSHOTS, &("n", "native", "above"), &record(2, "below", 0))?;
            txn.put(&SNAPSHOTS, &("n", "native", "lone"), &record(3, "none", 0))?;
            Ok::<_, Error>(())
        };
        for id in 1..4 {
            let path = folder.path().join(format!("native/snapshots/{id}"));
            fs_err::create_dir_all(path).unwrap();
        }
        store.commit("damage", write).await.unwrap();
        let listener: super::super::Listener = Arc::new(|_, _, _| {});
        let opened = Snapshots::open(folder.path(), store, None, listener, Arc::new(Nobody));
        let snapshots = opened.unwrap();
        let found = snapshots.check(true).await.unwrap().findings;
        let kinds: Vec<_> = found.iter().map(|f| (f.kind, f.name.as_str(), f.mendable)).collect();
        let mut expected =
            [(CHILDREN_WRONG, "native/below", true), (PARENT_LOST, "native/lone", false)];
        expected.sort_by_key(|(_, name, _)| *name);
        assert_eq!(kinds, expected);
        assert!(snapshots.mend(&found[0]).await.unwrap());
        assert!(!snapshots.mend(&found[0]).await.unwrap());
        let left = snapshots.check(false).await.unwrap().findings;
        assert_eq!(left, found[1..]);
    }
}
