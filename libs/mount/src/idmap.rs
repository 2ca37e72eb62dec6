//! Mounts whose owners are shown as others (`uidmap=` and `gidmap=`, mount_setattr(2)).
//!
//! The kernel takes the map from a user namespace. Of an overlay the lower directories are mapped,
//! all by one mapped mount of the directory that they share, which the overlay keeps.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_netns::{Held, Maps};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::attempt::Attempt;
use crate::options::{Flags, Parsed};
use crate::overlay::{attributes, common_parent, lower_dirs};
use crate::place::Place;
use crate::plain::mount_plain;
use crate::{Error, TempMount, mountinfo};

/// So many names of folders are tried.
const MOST_NAMES: usize = 1024;

/// Makes a mount whose owners are mapped, at `at`, what `place` leads to.
pub(crate) fn mount_mapped(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    place: &Place<'_>,
    at: &Path,
    mapping: &Maps,
) -> Result<(), Error> {
    let users = Held::new(mapping, false).and_then(|held| held.users());
    let users = users.map_err(|e| {
        let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
        attempt.error("make the user namespace of the map", errno)
    })?;
    if attempt.mount.kind == "overlay" {
        return overlay(attempt, parsed, at, &users);
    }
    if parsed.flags.0.contains(MountFlags::BIND) {
        let tree = mapped_tree(attempt, Path::new(&attempt.mount.source), parsed.flags, &users)?;
        return attach(attempt, &tree, at);
    }
    if parsed.remount {
        return Err(attempt.error("map the owners of what is mounted already", Errno::INVAL));
    }
    mount_plain(attempt, parsed, at)?;
    // A copy of it that maps takes its place.
    let made = place.find();
    let tree = made.and_then(|made| mapped_tree(attempt, &made.path, parsed.flags, &users));
    place.undo();
    attach(attempt, &tree?, at)
}

/// An overlay on mapped lower directories. What is written belongs to whom it belongs already.
fn overlay(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    at: &Path,
    users: &OwnedFd,
) -> Result<(), Error> {
    let lowers = lower_dirs(&parsed.data);
    let shared = common_parent(&lowers);
    let shared = shared.ok_or_else(|| attempt.error("find lowerdir", Errno::INVAL))?;
    // The folder is closed to others, whatever the mode of what is mounted in it.
    let folder = folder()?;
    let mapped = TempMount::new(&[], folder.path(), "shown")?;
    let tree = mapped_tree(attempt, &shared, reach(&shared, &lowers)?, users)?;
    attach(attempt, &tree, mapped.path())?;
    let inside = |lower: &String| {
        let below = Path::new(lower).strip_prefix(&shared).unwrap_or(Path::new(""));
        let path = mapped.path().join(below).display().to_string();
        path.replace('\\', "\\\\").replace(':', "\\:")
    };
    let inside: Vec<String> = lowers.iter().map(inside).collect();
    let others = parsed.data.iter().filter(|option| !option.starts_with("lowerdir="));
    let data = others.cloned().chain([format!("lowerdir={}", inside.join(":"))]).collect();
    let (flags, propagation) = (parsed.flags, parsed.propagation);
    let parsed = Parsed { flags, propagation, data, ..Parsed::default() };
    mount_plain(attempt, &parsed, at).map(drop)
}

/// How the directory that lower ones share is copied: with what is mounted below it only where one
/// of them is in such a mount, since others may be of file systems that map nothing.
fn reach(shared: &Path, lowers: &[String]) -> Result<Flags, Error> {
    let below = mountinfo::beneath(shared)?;
    let holds = |point: &Path| {
        point != shared && lowers.iter().any(|lower| Path::new(lower).starts_with(point))
    };
    let deep = below.iter().any(|mount| holds(&mount.mount_point));
    let deep = if deep { MountFlags::REC } else { MountFlags::empty() };
    Ok(Flags(MountFlags::RDONLY | deep))
}

/// A mapped copy of what is mounted at a path, not attached yet.
fn mapped_tree(
    attempt: &Attempt<'_>,
    path: &Path,
    Flags(flags): Flags,
    users: &OwnedFd,
) -> Result<OwnedFd, Error> {
    let recursive = flags.contains(MountFlags::REC);
    let mut how = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    how.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let tree = open_tree(CWD, path, how).map_err(|e| attempt.error("open_tree", e))?;
    let set = libc::MOUNT_ATTR_IDMAP | u64::from(attributes(flags).bits());
    // How access times are kept is one value, not flags: it is cleared to be set.
    let times = MountFlags::NOATIME | MountFlags::STRICTATIME | MountFlags::RELATIME;
    let users = u64::try_from(users.as_raw_fd()).unwrap_or_default();
    let wanted = libc::mount_attr {
        attr_set: set,
        attr_clr: if flags.intersects(times) { libc::MOUNT_ATTR__ATIME } else { 0 },
        propagation: libc::MS_PRIVATE,
        userns_fd: users,
    };
    let mut how = libc::AT_EMPTY_PATH;
    if recursive {
        how |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is an empty C string, the attributes live through the call and have the
    // size that is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            how,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    match done {
        0 => Ok(tree),
        _ => Err(attempt.error("map the owners, mount_setattr", last_error())),
    }
}

fn attach(attempt: &Attempt<'_>, tree: &OwnedFd, at: &Path) -> Result<(), Error> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(tree, "", CWD, at, flags).map_err(|e| attempt.error("move_mount", e))
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// A folder of this process alone. One of the same name is of an earlier process of this number,
/// or of one that has this number elsewhere.
fn folder() -> Result<TempMount, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut left = MOST_NAMES;
    loop {
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("berth-mapped-{process}-{next}");
        left -= 1;
        match TempMount::new(&[], &std::env::temp_dir(), &name) {
            Err(Error::Directory { source, .. })
                if left > 0 && source.kind() == std::io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
    }
}
