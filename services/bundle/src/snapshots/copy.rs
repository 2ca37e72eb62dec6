//! Copying a tree with everything that a file has: owner, mode, times, attributes, links, holes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use berth_store::failpoint;
use berth_tree::{content, names, path_at, times, xattrs, xattrs_at};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use crate::Error;

const NOFOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(NOFOLLOW);

/// How deep directories are followed: each level takes a frame and two descriptors.
const DEEPEST: usize = 1000;

/// Copies what is in the directory `from` into the directory `to`, and `from`'s own attributes.
pub(super) fn copy_tree(from: &Path, to: &Path) -> std::result::Result<(), Error> {
    let open = |path: &Path| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty());
    let mut copy = Copy::default();
    let copied = open(from).and_then(|source| copy.directory(&source, &open(to)?));
    copied.map_err(|errno| Error::File {
        step: "copy the parent, at",
        path: from.join(String::from_utf8_lossy(&copy.at.join(&b'/')).into_owned()),
        source: errno.into(),
    })
}

/// Copies what is in the file `from` to the new file `to`, durably.
pub(super) fn copy_file(from: &Path, to: &Path) -> std::result::Result<(), Error> {
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |errno: Errno| Error::File { step, path, source: errno.into() }
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(CWD, from, flags, Mode::empty());
    let source = source.map_err(failed("open", from))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NOFOLLOW;
    let target = rustix::fs::openat(CWD, to, flags, Mode::RUSR | Mode::WUSR);
    let target = target.map_err(failed("make", to))?;
    let size = rustix::fs::fstat(&source).map_err(failed("look at", from))?.st_size;
    content(&source, &target, u64::try_from(size).unwrap_or(0), None)
        .and_then(|()| rustix::fs::fsync(&target))
        .map_err(failed("copy to", to))?;
    failpoint::file("block file", "copied");
    Ok(())
}

#[derive(Default)]
struct Copy {
    /// The first copy of each file with several names: its directory and name.
    linked: HashMap<(u64, u64), (OwnedFd, Vec<u8>)>,
    /// Names from the root to where the copy is.
    at: Vec<Vec<u8>>,
}

impl Copy {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<()> {
        if self.at.len() > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        for name in names(from)? {
            self.at.push(name.clone());
            self.entry(from, to, &name)?;
            self.at.pop();
        }
        attributes(from, to, &rustix::fs::fstat(from)?)
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &[u8]) -> Result<()> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some((directory, first)) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                return rustix::fs::linkat(directory, &**first, to, name, AtFlags::empty());
            }
            let kept = (rustix::io::fcntl_dupfd_cloexec(to, 0)?, name.to_vec());
            self.linked.insert((stat.st_dev, stat.st_ino), kept);
        }
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let open = |parent| rustix::fs::openat(parent, name, DIRECTORY, Mode::empty());
                self.directory(&open(from)?, &open(to)?)
            }
            FileType::RegularFile => {
                let source =
                    rustix::fs::openat(from, name, OFlags::RDONLY | NOFOLLOW, Mode::empty())?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NOFOLLOW;
                let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
                content(&source, &target, u64::try_from(stat.st_size).unwrap_or(0), None)?;
                attributes(&source, &target, &stat)
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&link, to, name)?;
                plain(from, to, name, &stat)
            }
            kind => {
                let mode = Mode::from_raw_mode(stat.st_mode);
                rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
                rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
                plain(from, to, name, &stat)
            }
        }
    }
}

fn attributes(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    for (name, value) in xattrs(from)? {
        rustix::fs::fsetxattr(to, &*name, &value, XattrFlags::empty())?;
    }
    rustix::fs::futimens(to, &times(stat))
}

/// Owner, attributes and times of what cannot be opened.
fn plain(from: &OwnedFd, to: &OwnedFd, name: &[u8], stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    for (key, value) in xattrs_at(from, name)? {
        rustix::fs::lsetxattr(&*path_at(to, name), &*key, &value, XattrFlags::empty())?;
    }
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}
