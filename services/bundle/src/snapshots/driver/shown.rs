//! A snapshot's own files while something is done to them that is to be durable afterwards.

use std::path::{Path, PathBuf};

use berth_mount::TempMount;

use super::btrfs::subvolume::seal;
use crate::Error;
use crate::durable;

/// Where the files are, until [`Shown::close`].
pub(in crate::snapshots) enum Shown {
    /// In a directory.
    Here(PathBuf),
    /// In a subvolume that is read-only otherwise.
    Thawed(PathBuf),
    /// In the file system of a block file, which is mounted.
    Mounted(TempMount, PathBuf),
}

impl Shown {
    pub(in crate::snapshots) fn path(&self) -> &Path {
        match self {
            Shown::Here(path) | Shown::Thawed(path) => path,
            Shown::Mounted(mount, _) => mount.path(),
        }
    }

    /// Undoes what was made to show them. A block file is flushed: what its file system has flushed
    /// is in the file, but not all that the end of the mount has written.
    pub(in crate::snapshots) fn close(self) -> Result<(), Error> {
        match self {
            Shown::Here(_) => Ok(()),
            Shown::Thawed(path) => seal(&path),
            Shown::Mounted(mount, file) => {
                drop(mount);
                durable::file(&file)
            }
        }
    }
}
