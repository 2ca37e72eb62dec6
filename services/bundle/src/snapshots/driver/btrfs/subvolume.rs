//! The kernel's calls about subvolumes (btrfs-ioctl(2)).

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::Error;

/// The inode of a subvolume's root directory.
pub(super) const ROOT: u64 = 256;

/// What all of the file system's calls have.
pub(super) const GROUP: u8 = 0x94;

const CREATE: Opcode = opcode::write::<Named>(GROUP, 14);
const DESTROY: Opcode = opcode::write::<Named>(GROUP, 15);
const SNAPSHOT: Opcode = opcode::write::<Flagged>(GROUP, 23);
const GET_FLAGS: Opcode = opcode::read::<u64>(GROUP, 25);
const SET_FLAGS: Opcode = opcode::write::<u64>(GROUP, 26);
const INFO: Opcode = opcode::read::<RawInfo>(GROUP, 60);
const DESTROY_FLAGGED: Opcode = opcode::write::<Flagged>(GROUP, 63);

const READ_ONLY: u64 = 1 << 1;
const BY_NUMBER: u64 = 1 << 4;

/// The kernel's `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Named {
    fd: i64,
    name: [u8; 4088],
}

/// The kernel's `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct Flagged {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    /// Or a subvolume's number in the first eight bytes.
    name: [u8; 4040],
}

/// The kernel's `struct btrfs_ioctl_timespec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Time {
    seconds: u64,
    nanoseconds: u32,
}

/// The kernel's `struct btrfs_ioctl_get_subvol_info_args`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawInfo {
    id: u64,
    name: [u8; 256],
    parent: u64,
    directory: u64,
    generation: u64,
    flags: u64,
    uuid: [u8; 16],
    parent_uuid: [u8; 16],
    received_uuid: [u8; 16],
    changed: u64,
    created: u64,
    sent: u64,
    received: u64,
    changed_at: Time,
    created_at: Time,
    sent_at: Time,
    received_at: Time,
    reserved: [u64; 8],
}

/// What is known of a subvolume.
pub(super) struct Info {
    /// Its number.
    pub id: u64,
    /// The transaction that made it out of another one, and the time in seconds and nanoseconds;
    /// none if it was made empty.
    pub taken: Option<(u64, (u64, u32))>,
}

pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// The directory that a path is in, open, and the name there, with NULs behind.
fn split<const N: usize>(path: &Path) -> Result<(OwnedFd, [u8; N])> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL);
    };
    let mut field = [0; N];
    let name = name.as_bytes();
    field.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
    Ok((open(parent)?, field))
}

/// Makes an empty one at `path`.
pub(super) fn create(path: &Path) -> Result<()> {
    let (parent, name) = split(path)?;
    // SAFETY: the opcode takes this structure.
    let create = unsafe { Setter::<CREATE, _>::new(Named { fd: 0, name }) };
    // SAFETY: as above; the kernel only reads the structure.
    unsafe { ioctl(&parent, create) }?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o755))
}

/// Makes one at `to` that has what the one at `from` has, with all that was written there so far,
/// durably.
pub(super) fn snapshot(from: &Path, to: &Path, read_only: bool) -> Result<()> {
    let from = open(from)?;
    let (parent, name) = split(to)?;
    let flags = if read_only { READ_ONLY } else { 0 };
    let fd = i64::from(from.as_raw_fd());
    let what = Flagged { fd, transaction: 0, flags, unused: [0; 4], name };
    // SAFETY: the opcode takes this structure, and `from` is open through the call.
    let snapshot = unsafe { Setter::<SNAPSHOT, _>::new(what) };
    // SAFETY: as above; the kernel only reads the structure.
    unsafe { ioctl(&parent, snapshot) }
}

/// Deletes the one at `path`, whatever is in it but others. The kernel frees its blocks later.
///
/// NOTEMPTY if there are others in it, NOENT if nothing is there.
pub(super) fn destroy(path: &Path) -> Result<()> {
    let (parent, name) = split(path)?;
    // SAFETY: the opcode takes this structure.
    let destroy = unsafe { Setter::<DESTROY, _>::new(Named { fd: 0, name }) };
    // SAFETY: as above; the kernel only reads the structure.
    unsafe { ioctl(&parent, destroy) }
}

/// Deletes those of these numbers, in this order, and then the one at `path`.
pub(super) fn destroy_all(path: &Path, nested: &[u64]) -> Result<()> {
    let top = open(path)?;
    for number in nested {
        let mut name = [0; 4040];
        name[..8].copy_from_slice(&number.to_ne_bytes());
        let what = Flagged { fd: 0, transaction: 0, flags: BY_NUMBER, unused: [0; 4], name };
        // SAFETY: the opcode takes this structure.
        let destroy = unsafe { Setter::<DESTROY_FLAGGED, _>::new(what) };
        // SAFETY: as above; the kernel only reads the structure.
        unsafe { ioctl(&top, destroy) }?;
    }
    drop(top);
    destroy(path)
}

/// Makes the one at `path` read-only, durably: the kernel commits all that was done before with it.
pub(in crate::snapshots::driver) fn seal(path: &Path) -> std::result::Result<(), Error> {
    set_read_only(path, true).map(drop).map_err(|errno| Error::File {
        step: "make read-only",
        path: path.to_owned(),
        source: errno.into(),
    })
}

/// Makes the one at `path` read-only, or writable. Answers whether it was read-only.
pub(super) fn set_read_only(path: &Path, read_only: bool) -> Result<bool> {
    let subvolume = open(path)?;
    // SAFETY: the opcode fills a number.
    let flags = unsafe { ioctl(&subvolume, Getter::<GET_FLAGS, u64>::new()) }?;
    let was = flags & READ_ONLY != 0;
    if was != read_only {
        // SAFETY: the opcode takes a number.
        let set = unsafe { Setter::<SET_FLAGS, _>::new(flags ^ READ_ONLY) };
        // SAFETY: as above; the kernel only reads it.
        unsafe { ioctl(&subvolume, set) }?;
    }
    Ok(was)
}

/// What is known of the one at `path`.
pub(super) fn info(path: &Path) -> Result<Info> {
    // SAFETY: the opcode fills this structure, any bits of which are a value.
    let found = unsafe { ioctl(open(path)?, Getter::<INFO, RawInfo>::new()) }?;
    let Time { seconds, nanoseconds } = found.created_at;
    let taken = (found.created, (seconds, nanoseconds));
    let taken = (found.parent_uuid != [0; 16]).then_some(taken);
    Ok(Info { id: found.id, taken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_its_sizes() {
        assert_eq!((size_of::<Named>(), size_of::<Flagged>()), (4096, 4096));
        assert_eq!(size_of::<RawInfo>(), 504);
    }
}
