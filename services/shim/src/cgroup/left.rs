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

    /// Removes them once they are empty, those within others first.
    ///
    /// # Errors
    /// [`Error::Io`] of the first that could not be removed, such as when there are processes in it after `within`; all
    /// others are gone.
    pub(crate) async fn remove(&self, within: Duration) -> Result<(), Error> {
        let until = Instant::now() + within;
        let mut all = Ok(());
        // In the set a folder comes before those in it.
        for folder in self.0.iter().rev() {
            let removed = remove(folder, until).await;
            all = all.and(removed);
        }
        all
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A group of this test in whichever hierarchy the shim uses.
    fn group() -> PathBuf {
        let root = PathBuf::from("/sys/fs/cgroup");
        let hierarchy = if berth_cgroup::unified() { root } else { root.join("pids") };
        hierarchy.join(format!("berth-test-left-{}", std::process::id()))
    }

    #[tokio::test]
    async fn groups_within_others_go_first_and_one_that_stays_keeps_no_other() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = group();
        let [outer, inner, held] = ["outer", "outer/in", "staying"].map(|name| top.join(name));
        let [nested, holds] = [inner.join("deep"), held.join("in")];
        for folder in [&nested, &holds] {
            std::fs::create_dir_all(folder).unwrap();
        }
        // Nobody told of what is in the one that stays, and it is the first that is looked at.
        let all = [&outer, &inner, &nested, &held].map(PathBuf::clone);
        let removed = Left(all.into()).remove(LOOK).await;
        let there = [&outer, &held].map(|folder| folder.exists());
        for folder in [&holds, &held, &nested, &inner, &outer, &top] {
            let _ = std::fs::remove_dir(folder);
        }
        assert_eq!(there, [false, true]);
        let told = removed.unwrap_err().to_string();
        assert!(told.starts_with(&format!("remove {}: ", held.display())), "{told}");
        assert!(!top.exists());
    }
}
