//! From a staging directory to a snapshot's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_store::failpoint;

use super::commit::Naming;
use super::driver::Driver;
use super::{Shared, Usage};
use crate::layer::implied;
use crate::{Error, durable};

/// A staged layer that is to be recorded as a snapshot. With this it is thrown away unless it was:
/// whoever asked for it may have left meanwhile.
pub(super) struct Unrecorded {
    shared: Arc<Shared>,
    snapshotter: &'static str,
    id: u64,
    kept: AtomicBool,
}

impl Unrecorded {
    /// The staged layer `id`.
    pub(super) fn new(shared: &Arc<Shared>, snapshotter: &'static str, id: u64) -> Self {
        Self { shared: Arc::clone(shared), snapshotter, id, kept: AtomicBool::new(false) }
    }

    /// It has a record.
    pub(super) fn keep_if(&self, recorded: bool) {
        self.kept.store(recorded, Ordering::Relaxed);
    }

    /// Makes it what a snapshot on `parents` is, durably. It took `usage` before; answers what it
    /// takes now. Blocks.
    pub(super) fn adopt(
        &self,
        usage: Usage,
        implied: &[Vec<u8>],
        parents: &[u64],
    ) -> Result<Usage, Error> {
        let driver = self.shared.driver(self.snapshotter)?;
        let Some(erofs) = driver.erofs() else {
            return driver.adopt(self.id, implied, parents).map(|()| usage);
        };
        let (from, to) = (driver.staging(self.id), driver.directory(self.id));
        let usage = erofs.seal_staged(&from, implied, parents)?;
        rename(&from, &to)?;
        let left = erofs.settle(&to)?;
        left.into_iter().for_each(|path| self.shared.discard(self.snapshotter, path));
        durable::directory(to.parent().unwrap_or(&to))?;
        Ok(usage)
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        if let (false, Ok(driver)) = (*self.kept.get_mut(), self.shared.driver(self.snapshotter)) {
            self.shared.discard(self.snapshotter, driver.directory(self.id));
            self.shared.discard(self.snapshotter, driver.staging(self.id));
        }
    }
}

impl Driver {
    /// Turns the staged layer `id` into the directory of a snapshot on `parents`, durably.
    fn adopt(&self, id: u64, implied: &[Vec<u8>], parents: &[u64]) -> Result<(), Error> {
        let (from, to) = (self.staging(id), self.directory(id));
        // Where the parent's files are there the implied directories are the parent's.
        let adopts = self.is_parallel() && !parents.is_empty();
        let implied = if adopts { implied } else { &[] };
        let lowers: Vec<_> = parents.iter().map(|id| self.content(&self.directory(*id))).collect();
        implied::adopt(&self.content(&from), implied, &lowers).map_err(|(path, errno)| {
            Error::File {
                step: "copy attributes from the layers below to",
                path: from.join(String::from_utf8_lossy(&path).into_owned()),
                source: errno.into(),
            }
        })?;
        failpoint::file("layer", "put on its parent");
        rename(&from, &to)?;
        self.seal(&to)?;
        self.flush_adopted(&to, implied)?;
        failpoint::file("layer", "placed");
        Ok(())
    }

    /// Makes durable what came after the extraction, which ended with a flush of its own: the move
    /// to `path` and the attributes of implied directories. Of those there is the layer's root and
    /// no other where archives have the directories above what they change, as those of docker,
    /// BuildKit and containerd; then the file system is not flushed a second time.
    fn flush_adopted(&self, path: &Path, implied: &[Vec<u8>]) -> Result<(), Error> {
        let is_root = |path: &Vec<u8>| path.is_empty();
        if !implied.iter().all(is_root) {
            return durable::file_system(path);
        }
        if !implied.is_empty() {
            durable::directory(&self.content(path))?;
        }
        durable::directory(path.parent().unwrap_or(path))
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    let path = || from.to_owned();
    let failed = |source| Error::File { step: "move the staged layer", path: path(), source };
    fs_err::rename(from, to).map_err(failed)?;
    failpoint::file("layer", "moved");
    Ok(())
}

/// A layer that was extracted on a parent has to be committed on it.
pub(super) fn check_parent(under: Option<&String>, naming: &Naming) -> Result<(), Error> {
    if under.is_none_or(|under| *under == naming.parent) {
        return Ok(());
    }
    let (what, value) = ("parent", naming.parent.clone());
    let reason = "the layer was extracted on top of another snapshot";
    Err(Error::Argument { what, value, reason })
}
