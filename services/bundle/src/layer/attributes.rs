//! Owner, mode, times and extended attributes of what was extracted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use berth_tree::{path_at, xattrs};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use super::tar::{Entry, Mtime};

/// Names that say something to the snapshotter's own overlay. From a layer they would be orders
/// to the kernel (`redirect`, `metacopy`), so they are left out.
const OURS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Names that layers set, the host's security modules not among them.
const LAYERS: [&[u8]; 4] = [b"user.", b"trusted.", b"security.capability", b"system.posix_acl_"];

/// What an entry says about a file besides its content.
pub(super) struct Attributes {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub mtime: Mtime,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Takes them out of an entry.
    pub(super) fn of(entry: &mut Entry) -> Self {
        let mut xattrs = std::mem::take(&mut entry.xattrs);
        xattrs.retain(|(name, _)| !OURS.iter().any(|ours| name.starts_with(ours)));
        Self { uid: entry.uid, gid: entry.gid, mode: entry.mode, mtime: entry.mtime, xattrs }
    }

    /// Bytes of memory that they take, about.
    pub(super) fn memory(&self) -> u64 {
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len() + value.len() + 64);
        128 + xattrs.sum::<usize>() as u64
    }

    /// Gives them to an open file or directory. `fresh` tells that the file was made just now
    /// with this mode, in a directory of that group: then what is right already is not set again.
    pub(super) fn apply(&self, file: impl AsFd, fresh: Option<u32>) -> Result<()> {
        let file = file.as_fd();
        let owned = fresh.is_some_and(|group| self.is_default_owner(group));
        if !owned {
            rustix::fs::fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        // A change of owner takes set-id bits away, so the mode comes after it.
        if fresh.is_none() || self.mode & (0o7000 | umask()) != 0 {
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        }
        if fresh.is_none() {
            self.remove_other_xattrs(file)?;
        }
        for (name, value) in &self.xattrs {
            tolerate(rustix::fs::fsetxattr(file, &**name, value, XattrFlags::empty()), name, true)?;
        }
        rustix::fs::futimens(file, &self.times())
    }

    /// Gives them to what cannot be opened: a link, a device or a fifo.
    pub(super) fn apply_at(&self, parent: &OwnedFd, name: &[u8], link: bool) -> Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow)?;
        if !link {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        for (key, value) in &self.xattrs {
            let path = path_at(parent, name);
            let set = rustix::fs::lsetxattr(&*path, &**key, value, XattrFlags::empty());
            tolerate(set, key, false)?;
        }
        rustix::fs::utimensat(parent, name, &self.times(), nofollow)
    }

    /// Takes away what a directory of a layer below had, if that layer is in the same place: its
    /// new entry says all that it is.
    fn remove_other_xattrs(&self, file: BorrowedFd<'_>) -> Result<()> {
        for (name, _) in xattrs(file)? {
            let ours = OURS.iter().any(|ours| name.starts_with(ours));
            let layers = LAYERS.iter().any(|theirs| name.starts_with(theirs));
            if layers && !ours && !self.xattrs.iter().any(|(wanted, _)| *wanted == name) {
                rustix::fs::fremovexattr(file, &*name)?;
            }
        }
        Ok(())
    }

    fn is_default_owner(&self, parent_group: u32) -> bool {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        self.uid == uid.as_raw() && self.gid == gid.as_raw() && parent_group == gid.as_raw()
    }

    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime.seconds, tv_nsec: i64::from(self.mtime.nanos) };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// A file system without attributes, and `user.` ones on what cannot have them, are no reason to
/// refuse a layer: containerd goes on too.
fn tolerate(result: Result<()>, name: &[u8], can_have_user: bool) -> Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::PERM) if !can_have_user && name.starts_with(b"user.") => Ok(()),
        other => other,
    }
}

/// Bits that the process's umask takes from the mode of new files. Read, never set: it belongs
/// to the whole process.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        // Unknown counts as everything: then the mode is always set.
        line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o7777)
    })
}
