//! Changing whom all files of a tree belong to.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use berth_tree::{names, path_at, xattrs_at};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use super::mapping::Owners;
use crate::Error;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How deep directories are followed: each level takes a frame and a descriptor.
const DEEPEST: usize = 1000;

/// What a change of owner takes away.
const CAPABILITY: &[u8] = b"security.capability";

/// Gives each file below `root`, and `root`, the owner that its own is mapped to.
pub(super) fn change_owners(root: &Path, owners: &Owners) -> std::result::Result<(), Error> {
    let mut change = Change { owners, seen: HashSet::new() };
    let changed = rustix::fs::openat(CWD, root, DIRECTORY, Mode::empty()).and_then(|directory| {
        change.one(&directory, b".")?;
        change.below(&directory, 0)
    });
    let failed = |errno: Errno| Error::File {
        step: "change the owners below",
        path: root.to_owned(),
        source: errno.into(),
    };
    changed.map_err(failed)
}

struct Change<'a> {
    owners: &'a Owners,
    /// Files with several names that have been changed.
    seen: HashSet<(u64, u64)>,
}

impl Change<'_> {
    fn below(&mut self, directory: &OwnedFd, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        for name in names(directory)? {
            if self.one(directory, &name)? == FileType::Directory {
                let child = rustix::fs::openat(directory, &*name, DIRECTORY, Mode::empty())?;
                self.below(&child, depth + 1)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, directory: &OwnedFd, name: &[u8]) -> Result<FileType> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let several = kind != FileType::Directory && stat.st_nlink > 1;
        if several && !self.seen.insert((stat.st_dev, stat.st_ino)) {
            return Ok(kind);
        }
        let (uid, gid) = self.owners.mapped(stat.st_uid, stat.st_gid);
        if (uid, gid) == (stat.st_uid, stat.st_gid) {
            return Ok(kind);
        }
        let kept = xattrs_at(directory, name)?.into_iter().find(|(key, _)| key == CAPABILITY);
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(directory, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::chmodat(directory, name, mode, AtFlags::empty())?;
        }
        if let Some((key, value)) = kept {
            rustix::fs::lsetxattr(&*path_at(directory, name), &*key, &value, XattrFlags::empty())?;
        }
        Ok(kind)
    }
}
