//! Remove and Cleanup: records first, directories afterwards.
//!
//! A directory is renamed into the trash, which is instant, and deleted in the background; what
//! cannot be deleted is tried again after the next that can, and what is still in the trash after a
//! crash is deleted at the next start.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_ids::Namespace;
use berth_store::{Write, failpoint};
use tokio::task::JoinHandle;

use super::driver::{Deletion, Driver};
use super::records::{LEASES, Record, SNAPSHOTS};
use super::{Change, Shared, Snapshots, blocking, node_kind, proxied};
use crate::Error;
use crate::gc::{Dropped, NodeKey};

/// What the kinds of snapshots begin with.
const PREFIX: &str = "snapshots/";

impl Snapshots {
    /// Removes a snapshot; `lease`, if one is named, holds it no more.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] if it has children.
    pub async fn remove(
        &self,
        namespace: &Namespace,
        lease: Option<String>,
        snapshotter: &str,
        key: &str,
    ) -> Result<(), Error> {
        let snapshotter = self.resolve(snapshotter)?;
        let (space, name) = (namespace.clone(), key.to_owned());
        let delete = move |txn: &Write| {
            let record = delete(txn, space.as_str(), snapshotter, &name)?;
            if let Some(lease) = &lease {
                release(txn, space.as_str(), lease, &node_kind(snapshotter), &name)?;
            }
            Ok::<_, Error>(record.id)
        };
        let id = self.shared.store.commit("remove snapshot", delete).await?;
        self.shared.news.deleted();
        let deletion = self.gone(namespace, snapshotter, key.to_owned(), id)?;
        let is_sync = self.shared.driver(snapshotter).is_ok_and(Driver::is_sync);
        if let Some(deletion) = deletion.filter(|_| is_sync) {
            // Only a process that ends gives it up, and the next start does it then.
            let _ = deletion.await;
        }
        Ok(())
    }

    /// Clears away what snapshots whose records a sweep has deleted leave behind.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a snapshotter.
    pub(crate) fn swept(&self, dropped: Vec<Dropped>) -> Result<(), Error> {
        for ((namespace, kind, key), id) in dropped {
            let name = kind.strip_prefix(PREFIX).unwrap_or_default();
            // What one that is no longer configured has is removed when it is again.
            let Ok(snapshotter) = self.resolve(name) else { continue };
            self.gone(&namespace.parse()?, snapshotter, key, id)?;
        }
        Ok(())
    }

    /// Answers the deletion of its directory, if that goes on in the background.
    fn gone(
        &self,
        namespace: &Namespace,
        snapshotter: &'static str,
        key: String,
        id: u64,
    ) -> Result<Option<JoinHandle<()>>, Error> {
        let deletion = match self.shared.proxied(snapshotter) {
            Some(proxied) => {
                proxied.wake();
                None
            }
            None => {
                let directory = self.shared.driver(snapshotter)?.directory(id);
                self.shared.delete_later(snapshotter, directory)
            }
        };
        self.tell(namespace, snapshotter, Change::Removed { key });
        Ok(deletion)
    }

    /// Waits until the directories of snapshots that were removed before are gone.
    pub async fn cleared(&self) {
        self.shared.deletions.close();
        self.shared.deletions.wait().await;
    }

    /// Deletes directories that belong to no snapshot, and waits until they are gone.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the snapshotter, [`Error::Store`], [`Error::File`].
    pub async fn cleanup(&self, snapshotter: &str) -> Result<(), Error> {
        let snapshotter = self.resolve(snapshotter)?;
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            return self.cleanup_proxied(proxied).await;
        }
        // Nobody makes a directory meanwhile: one without a record is left over.
        let _making = self.shared.making.write().await;
        let shared = Arc::clone(&self.shared);
        blocking("clean up snapshots", move || {
            let driver = shared.driver(snapshotter)?;
            let known = shared.store.read(super::records::numbers)?;
            let known = known.get(snapshotter).cloned().unwrap_or_default();
            trash_unknown(driver, &known)?;
            empty(driver.deletion(), &driver.trash())
        })
        .await
    }
}

impl Shared {
    /// Moves a directory that no record names to the trash and deletes it in the background.
    pub(super) fn discard(&self, snapshotter: &str, directory: PathBuf) {
        drop(self.delete_later(snapshotter, directory));
    }

    /// The same; answers the deletion, if one goes on.
    fn delete_later(&self, snapshotter: &str, directory: PathBuf) -> Option<JoinHandle<()>> {
        let driver = self.driver(snapshotter).ok()?;
        let trash = driver.trash();
        let name = directory.file_name().unwrap_or_default();
        let target = trash.join(format!("{}-{}", self.new_id(), name.to_string_lossy()));
        match driver.throw_away(&directory, &target) {
            Ok(true) => failpoint::file("snapshot", "thrown away"),
            Ok(false) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                // It has no record, so nobody sees it; the next start or Cleanup tries again.
                tracing::warn!(%error, "a removed snapshot's directory stays for now");
                return None;
            }
        }
        let (deleting, deletion) = (self.deletions.token(), driver.deletion());
        let undeleted = self.undeleted.clone();
        let delete = move || {
            let _until_deleted = deleting;
            undeleted.delete(deletion, target);
            failpoint::file("snapshot", "deleted");
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => Some(runtime.spawn_blocking(delete)),
            Err(_) => {
                delete();
                None
            }
        }
    }
}

/// Deletes the records of those of the nodes that are snapshots, children first, inside a commit.
/// Answers which were there and had no others above them.
pub(crate) fn drop_dead(txn: &Write, dead: &[NodeKey]) -> Result<Vec<Dropped>, Error> {
    let mut left: Vec<&NodeKey> = dead.iter().collect();
    let mut dropped = Vec::new();
    loop {
        let before = left.len();
        let mut kept = Vec::new();
        for node in left {
            let (namespace, kind, key) = node;
            let Some(snapshotter) = kind.strip_prefix(PREFIX) else { continue };
            match delete(txn, namespace, snapshotter, key) {
                Ok(record) => dropped.push((node.clone(), record.id)),
                Err(Error::Missing { .. }) => {}
                Err(Error::State { .. }) => kept.push(node),
                Err(error) => return Err(error),
            }
        }
        if kept.len() == before || kept.is_empty() {
            return Ok(dropped);
        }
        left = kept;
    }
}

/// Takes the hold on a thing from all lives of a lease.
fn release(txn: &Write, namespace: &str, lease: &str, kind: &str, id: &str) -> Result<(), Error> {
    for row in txn.range(&LEASES, (namespace, lease))? {
        let (place, row) = row?;
        if row.kind == kind && row.id == id {
            txn.delete(&LEASES, &place)?;
        }
    }
    Ok(())
}

/// Deletes a record that has no children.
fn delete(txn: &Write, namespace: &str, snapshotter: &str, key: &str) -> Result<Record, Error> {
    let place = (namespace, snapshotter, key);
    let missing = || Error::missing_snapshot(key);
    let record = txn.get(&SNAPSHOTS, &place)?.ok_or_else(missing)?;
    if record.children > 0 {
        let reason = "cannot remove snapshot with child";
        return Err(Error::State { what: "snapshot", name: key.to_owned(), reason });
    }
    txn.delete(&SNAPSHOTS, &place)?;
    proxied::forget(txn, place)?;
    let above = (namespace, snapshotter, &*record.parent);
    if let Some(mut parent) = txn.get(&SNAPSHOTS, &above)? {
        parent.children = parent.children.saturating_sub(1);
        txn.put(&SNAPSHOTS, &above, &parent)?;
    }
    Ok(record)
}

/// Moves the snapshots' directories whose number is not `known` to the trash.
pub(super) fn trash_unknown(driver: &Driver, known: &HashSet<u64>) -> Result<(), Error> {
    let snapshots = driver.root().join("snapshots");
    for path in entries(&snapshots)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.parse().is_ok_and(|id| known.contains(&id)) {
            continue;
        }
        let target = driver.trash().join(format!("orphan-{name}"));
        driver.throw_away(&path, &target).map_err(|source| Error::File {
            step: "move to the trash",
            path,
            source,
        })?;
        failpoint::file("orphan", "thrown away");
    }
    Ok(())
}

/// Deletes what is in a directory, each in that way.
pub(super) fn empty(delete: Deletion, directory: &Path) -> Result<(), Error> {
    entries(directory)?.iter().try_for_each(|path| delete(path))
}

pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || {
        fs_err::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()
    };
    list().map_err(|source| Error::File { step: "list", path: directory.to_owned(), source })
}
