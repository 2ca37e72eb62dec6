//! How a layer says that something of the layers below is gone.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;

use berth_tree::{names, remove_tree};
use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::{Errno, Result};

use super::path::EntryPath;

/// The form that deletions take in the directory extracted into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// An overlay's own layer: a character device 0/0 in place of what is gone, an attribute on
    /// an opaque directory.
    Overlay {
        /// `user.overlay.` attributes instead of `trusted.overlay.` ones.
        userxattr: bool,
    },
    /// The layers below are in the same directory: what is gone is removed.
    Merged,
}

/// What a name with the prefix `.wh.` stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark<'a> {
    /// No whiteout.
    None,
    /// The named sibling is gone.
    Gone(&'a [u8]),
    /// Everything below in this directory is gone.
    Opaque,
    /// aufs's own bookkeeping, nothing to extract.
    Ignored,
}

/// Reads the last component of an entry's name.
pub(super) fn mark(name: &[u8]) -> Mark<'_> {
    match name.strip_prefix(b".wh.") {
        None => Mark::None,
        Some(b".wh..opq") => Mark::Opaque,
        Some(rest) if rest.starts_with(b".wh.") => Mark::Ignored,
        Some(gone) => Mark::Gone(gone),
    }
}

/// Whether `name` in `parent` is an overlay's whiteout.
pub(super) fn is_whiteout(parent: &OwnedFd, name: &[u8]) -> Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(device && stat.st_rdev == 0)
}

/// Makes an overlay's whiteout. What this layer itself has under the name stays: it hides what is
/// below; of a directory only the merging is stopped.
pub(super) fn hide(parent: &OwnedFd, name: &[u8], userxattr: bool) -> Result<()> {
    let mode = Mode::from_raw_mode(0);
    match rustix::fs::mknodat(parent, name, FileType::CharacterDevice, mode, 0) {
        Err(Errno::EXIST) => {
            let flags = rustix::fs::OFlags::RDONLY
                | rustix::fs::OFlags::DIRECTORY
                | rustix::fs::OFlags::NOFOLLOW
                | rustix::fs::OFlags::CLOEXEC;
            match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                Ok(directory) => make_opaque(&directory, userxattr),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(()),
                Err(errno) => Err(errno),
            }
        }
        other => other,
    }
}

/// Marks an overlay's directory as hiding all below it.
pub(super) fn make_opaque(directory: &OwnedFd, userxattr: bool) -> Result<()> {
    let name = if userxattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
    rustix::fs::fsetxattr(directory, name, b"y", XattrFlags::empty())
}

/// What this layer has put into a merged directory: paths and their parents, without links.
///
/// Kept as 128 random bits of each, since a layer may have millions: 32 bytes or so for any path.
#[derive(Default)]
pub(super) struct Unpacked {
    known: HashSet<u128>,
    hashes: [RandomState; 2],
}

impl Unpacked {
    /// Bytes of memory that it takes, about.
    pub(super) fn memory(&self) -> u64 {
        self.known.len() as u64 * 32
    }

    fn mark(&self, path: &[u8]) -> u128 {
        let [high, low] = self.hashes.each_ref().map(|hash| u128::from(hash.hash_one(path)));
        high << 64 | low
    }

    /// Remembers `path` with all its parents.
    pub(super) fn insert(&mut self, path: &EntryPath) {
        let mut path = path.as_bytes();
        while !path.is_empty() && self.known.insert(self.mark(path)) {
            path = path.iter().rposition(|b| *b == b'/').map_or(&[], |slash| &path[..slash]);
        }
    }

    /// Removes what is below `path` (the directory `name` in `parent`), and `path` itself, except
    /// what this layer has put there.
    pub(super) fn remove_others(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &EntryPath,
    ) -> Result<()> {
        if !self.known.contains(&self.mark(path.as_bytes())) {
            return match remove_tree(parent, name) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            };
        }
        let flags = rustix::fs::OFlags::RDONLY
            | rustix::fs::OFlags::DIRECTORY
            | rustix::fs::OFlags::NOFOLLOW
            | rustix::fs::OFlags::CLOEXEC;
        match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(directory) => self.clear(&directory, path.as_bytes()),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Empties the directory at `path` of what this layer has not put there.
    pub(super) fn clear(&self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        for child in names(directory)? {
            self.remove_others(directory, &child, &EntryPath::join(path, &child))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_by_their_prefix() {
        assert_eq!(mark(b"file"), Mark::None);
        assert_eq!(mark(b".wh.file"), Mark::Gone(b"file"));
        assert_eq!(mark(b".wh..wh..opq"), Mark::Opaque);
        assert_eq!(mark(b".wh..wh.plnk"), Mark::Ignored);
    }
}
