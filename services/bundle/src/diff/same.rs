//! Whether a file is the same in two directories.
//!
//! Size and modification time do not tell: both can be kept by whoever changes a file. An inode
//! whose change time is the same was not changed, since that time cannot be set; of all others
//! the content is read. An overlay shows the inodes of its layers, so that of a container's files
//! only those are read that were copied up. Two copies, as the native snapshotter has them, are
//! read in full.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use berth_tree::{Xattrs, xattrs, xattrs_at};
use rustix::fs::{FileType, Stat};

use super::open::{DIRECTORY, FILE, open_at};

/// A file's attributes without the overlay's own.
pub(super) fn shown_xattrs(file: &OwnedFd) -> io::Result<Xattrs> {
    Ok(shown(xattrs(file)?))
}

/// The same of what cannot be opened.
pub(super) fn shown_xattrs_at(parent: &OwnedFd, name: &[u8]) -> io::Result<Xattrs> {
    Ok(shown(xattrs_at(parent, name)?))
}

fn shown(mut found: Xattrs) -> Xattrs {
    found.retain(|(name, _)| {
        !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
    });
    found.sort();
    found
}

/// Whether nothing about a file has changed: owner, mode, attributes, size, time, content.
pub(super) fn is_same(
    left: &OwnedFd,
    before: &Stat,
    right: &OwnedFd,
    now: &Stat,
    name: &[u8],
) -> io::Result<bool> {
    let owner = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_rdev);
    let time = |s: &Stat| (s.st_mtime, s.st_mtime_nsec);
    if owner(before) != owner(now) {
        return Ok(false);
    }
    match FileType::from_raw_mode(now.st_mode) {
        FileType::Directory => {
            // Names that came or went change the time.
            if time(before) != time(now) {
                return Ok(false);
            }
            let xattrs = |parent| shown_xattrs(&open_at(parent, name, DIRECTORY)?);
            Ok(xattrs(left)? == xattrs(right)?)
        }
        FileType::RegularFile => {
            if before.st_size != now.st_size || time(before) != time(now) {
                return Ok(false);
            }
            if is_untouched(before, now) {
                return Ok(true);
            }
            let (a, b) = (open_at(left, name, FILE)?, open_at(right, name, FILE)?);
            Ok(shown_xattrs(&a)? == shown_xattrs(&b)? && equal(File::from(a), File::from(b))?)
        }
        kind => {
            let link = |parent| rustix::fs::readlinkat(parent, name, Vec::new());
            if kind == FileType::Symlink && link(left)? != link(right)? {
                return Ok(false);
            }
            Ok(shown_xattrs_at(left, name)? == shown_xattrs_at(right, name)?)
        }
    }
}

/// Whether both are one inode that was not changed between. An overlay shows its own device
/// number, but its layers' inode numbers and times.
fn is_untouched(before: &Stat, now: &Stat) -> bool {
    let inode = |s: &Stat| (s.st_ino, s.st_ctime, s.st_ctime_nsec);
    inode(before) == inode(now)
}

fn equal(a: File, b: File) -> io::Result<bool> {
    let mut a = io::BufReader::with_capacity(1 << 16, a);
    let mut b = io::BufReader::with_capacity(1 << 16, b);
    let (mut x, mut y) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = a.read(&mut x)?;
        if read == 0 {
            return Ok(b.read(&mut y)? == 0);
        }
        match b.read_exact(&mut y[..read]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if x[..read] != y[..read] {
            return Ok(false);
        }
    }
}
