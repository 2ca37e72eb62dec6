//! Deleting a tree of directories.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::erofs::thaw;
use crate::Error;
use crate::layer::removal::remove_tree;

/// Deletes a tree of directories, following nothing.
pub(in crate::snapshots) fn delete_tree(path: &Path) -> Result<(), Error> {
    // Of a layer that was kept from being removed by accident.
    thaw(&path.join(crate::erofs::BLOB));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().as_bytes();
    let removed = rustix::fs::openat(CWD, parent, flags, Mode::empty())
        .and_then(|parent| remove_tree(&parent, name));
    match removed {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => {
            Err(Error::File { step: "delete", path: path.to_owned(), source: errno.into() })
        }
    }
}
