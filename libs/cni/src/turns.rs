//! Who waits for whom: operations of one container go one after another, and a network's collection goes alone.
//!
//! Within the process locks by name do it ([`berth_lifecycle::Keyed`]). What outlives the process, a plugin at work,
//! is waited for by a lock of a file (`flock`): plugins inherit the descriptor, and so hold it when the runtime is gone.
//!
//! Waiting within the process has no deadline of its own: what is waited for has one for each plugin, and whoever
//! waits may give up at any time.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use tokio::time::Instant;

use crate::Error;

/// Between two looks at a lock that only a plugin of an earlier run can have.
const LOOK: Duration = Duration::from_millis(20);

/// The lock of a container's file, which is removed when it is let go.
#[derive(Debug)]
pub(crate) struct Turn {
    path: PathBuf,
    fd: OwnedFd,
    held: bool,
}

impl Turn {
    /// Waits for whoever has it, at most for `patience`. What comes is not held if that was not enough.
    pub(crate) async fn take(
        folder: &Path,
        container: &str,
        patience: Duration,
    ) -> Result<Self, Error> {
        let path = folder.join(container);
        let step = |source: io::Error| Error::Cache { step: "lock", path: path.clone(), source };
        let end = Instant::now() + patience;
        loop {
            let fd = match open_at(&path) {
                Err(Errno::NOENT) => {
                    fs_err::create_dir_all(folder).map_err(step)?;
                    continue;
                }
                fd => fd.map_err(|errno| step(errno.into()))?,
            };
            match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                // The file may have been removed by the one before.
                Ok(()) if fstat(&fd).is_ok_and(|about| about.st_nlink > 0) => {
                    return Ok(Self { path, fd, held: true });
                }
                Ok(()) | Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) if Instant::now() >= end => {
                    return Ok(Self { path, fd, held: false });
                }
                Err(Errno::WOULDBLOCK) => tokio::time::sleep(LOOK).await,
                Err(errno) => return Err(step(errno.into())),
            }
        }
    }

    /// Whether it is held, and nobody else at work.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// A descriptor that holds it too.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.held {
            // One that stays is taken by the next, or is nobody's.
            let _ = fs_err::remove_file(&self.path);
            // A program that a plugin has left running may have a descriptor of it for long.
            let _ = flock(&self.fd, FlockOperation::Unlock);
        }
    }
}

fn open_at(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    open(path, flags, Mode::from_raw_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_shares_a_descriptor_holds_the_turn() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("locks");
        let soon = Duration::from_millis(50);
        let turn = Turn::take(&folder, "c", soon).await.unwrap();
        assert!(turn.is_held());
        let shared = turn.share().unwrap();
        // As when the process is killed: nothing is said.
        std::mem::forget(turn);
        assert!(!Turn::take(&folder, "c", soon).await.unwrap().is_held());
        // The end of the last who has it. The forgotten descriptor is one of those.
        flock(&shared, FlockOperation::Unlock).unwrap();
        let next = Turn::take(&folder, "c", soon).await.unwrap();
        assert!(next.is_held());
        let lent = next.share().unwrap();
        drop(next);
        assert_eq!(fs_err::read_dir(&folder).unwrap().count(), 0);
        assert!(Turn::take(&folder, "c", soon).await.unwrap().is_held(), "{lent:?} holds nothing");
    }
}
