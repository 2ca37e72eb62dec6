//! Control groups that are left when all that was in them was killed, and that nobody else will remove.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;

/// How soon a group is looked at again that had processes.
const LOOK: Duration = Duration::from_millis(10);

/// Folders of control groups.
#[derive(Debug, Default)]
pub(crate) struct Left(BTreeSet<PathBuf>);

impl Left {
    /// Those of processes that are to be killed, but for those that the shim itself is in.
    pub(crate) fn of(pids: &[i32]) -> Left {
        // One that has ended meanwhile has none.
        let folders = |pid: &i32| berth_cgroup::folders(*pid).unwrap_or_default();
        let own: BTreeSet<_> = folders(&std::process::id().cast_signed()).into_iter().collect();
        let all = pids.iter().flat_map(folders).filter(|folder| !own.contains(folder));
        Left(all.collect())
    }

    /// Removes them once they are empty.
    ///
    /// # Errors
    /// [`Error::Io`], such as when there are processes after `within`.
    pub(crate) async fn remove(&self, within: Duration) -> Result<(), Error> {
        let until = Instant::now() + within;
        for folder in &self.0 {
            remove(folder, until).await?;
        }
        Ok(())
    }
}

async fn remove(folder: &Path, until: Instant) -> Result<(), Error> {
    loop {
        match std::fs::remove_dir(folder) {
            // The last that was killed is not gone yet.
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < until => {
                tokio::time::sleep(LOOK).await;
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", folder.display()))(error));
            }
            _ => return Ok(()),
        }
    }
}
