//! Directories that a layer only implies: `usr/bin/tool` without entries for `usr` and `usr/bin`.
//!
//! In an overlay the topmost directory's attributes are those that are seen. A layer that is
//! extracted without those below it makes such directories with default attributes; when it is
//! put on its parent they are given what they have there.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid, XattrFlags};
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

/// The times of a file, as they are set.
pub(crate) fn times(stat: &rustix::fs::Stat) -> Timestamps {
    let time = |seconds: i64, nanos: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// The extended attributes of an open file, none where the file system has none.
pub(crate) fn xattrs(file: impl AsFd) -> Result<Xattrs> {
    let file = file.as_fd();
    read(|names| rustix::fs::flistxattr(file, names), |n, v| rustix::fs::fgetxattr(file, n, v))
}

/// The extended attributes of what cannot be opened: a link, a device or a fifo.
pub(crate) fn xattrs_at(parent: &OwnedFd, name: &[u8]) -> Result<Xattrs> {
    let path = path_at(parent, name);
    read(|names| rustix::fs::llistxattr(&*path, names), |n, v| rustix::fs::lgetxattr(&*path, n, v))
}

/// A path for calls that take no descriptor of a directory (attributes, before Linux 6.13).
pub(crate) fn path_at(parent: &OwnedFd, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat()
}

/// Names and values.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Result<Xattrs> {
    let mut names = vec![0; 1024];
    let length = loop {
        match list(&mut names) {
            Ok(length) => break length,
            Err(Errno::RANGE) => names.resize(names.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    };
    let mut found = Vec::new();
    if length == 0 {
        return Ok(found);
    }
    let mut value = vec![0; 65536];
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        match get(name, &mut value) {
            Ok(length) => found.push((name.to_vec(), value[..length].to_vec())),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}
