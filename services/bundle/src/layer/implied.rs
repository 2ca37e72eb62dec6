//! Directories that a layer only implies: `usr/bin/tool` without entries for `usr` and `usr/bin`.
//!
//! In an overlay the topmost directory's attributes are those that are seen. A layer that is
//! extracted without those below it makes such directories with default attributes; when it is
//! put on its parent they are given what they have there.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_tree::{times, xattrs};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::{Errno, Result};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Gives each of `paths` in the layer `upper` the attributes that it has in the topmost of
/// `lowers` (topmost first) that has it. Answers the path of the first that failed.
///
/// # Errors
/// The path and the errno.
pub fn adopt(
    upper: &Path,
    paths: &[Vec<u8>],
    lowers: &[PathBuf],
) -> std::result::Result<(), (Vec<u8>, Errno)> {
    if paths.is_empty() || lowers.is_empty() {
        return Ok(());
    }
    let open = |path: &Path| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty());
    let root = |path: &Path| open(path).map_err(|errno| (Vec::new(), errno));
    let upper = root(upper)?;
    let lowers = lowers.iter().map(|l| root(l)).collect::<std::result::Result<Vec<_>, _>>()?;
    for path in paths {
        adopt_one(&upper, path, &lowers).map_err(|errno| (path.clone(), errno))?;
    }
    Ok(())
}

fn adopt_one(upper: &OwnedFd, path: &[u8], lowers: &[OwnedFd]) -> Result<()> {
    for lower in lowers {
        match open_in(lower, path) {
            Ok(Some(found)) => {
                return match open_in(upper, path) {
                    Ok(Some(own)) => copy(&found, &own),
                    // Replaced by another entry of the layer.
                    Ok(None) | Err(Errno::NOENT) => Ok(()),
                    Err(errno) => Err(errno),
                };
            }
            // Something else is there, which hides what is further down.
            Ok(None) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The directory at `path`, or none if something on the way is no directory.
fn open_in(root: &OwnedFd, path: &[u8]) -> Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let path = if path.is_empty() { b"." } else { path };
    match rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Copies owner, mode, attributes and times of one directory to another.
fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(from)?;
    debug_assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Directory);
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    for (name, value) in xattrs(from)? {
        let own = [&b"trusted.overlay."[..], b"user.overlay."];
        if !own.iter().any(|prefix| name.starts_with(prefix)) {
            rustix::fs::fsetxattr(to, &*name, &value, XattrFlags::empty())?;
        }
    }
    rustix::fs::futimens(to, &times(&stat))
}
