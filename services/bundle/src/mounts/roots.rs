//! The folders below which mounts may have files and directories made.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::Error;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The directory that `path` is to be made in, opened without following a link below its root, and
/// its name there. None for a root itself.
pub(super) fn place(
    path: &Path,
    what: &'static str,
    roots: &[PathBuf],
) -> Result<Option<(OwnedFd, OsString)>, Error> {
    let below = roots.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?)));
    let Some((root, below)) = below else {
        let (name, reason) = (path.display().to_string(), "it is below none of the node's roots");
        return Err(Error::Unsupported { what, name, reason });
    };
    let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else { return Ok(None) };
    let parent = open(root, parent).map_err(|errno| Error::File {
        step: "open the directory above",
        path: path.to_owned(),
        source: errno.into(),
    })?;
    Ok(Some((parent, name.to_owned())))
}

fn open(root: &Path, below: &Path) -> rustix::io::Result<OwnedFd> {
    let root = rustix::fs::openat(CWD, root, DIRECTORY, Mode::empty())?;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(&root, below, DIRECTORY, Mode::empty(), resolve)
}
