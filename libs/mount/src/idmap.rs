//! Mounts whose owners are shown as others (`uidmap=` and `gidmap=`, mount_setattr(2)).
//!
//! The kernel takes the map from a user namespace, which takes a process to be made: one that does
//! nothing and is gone when the namespace is open. Of an overlay the lower directories are mapped,
//! all by one mapped mount of the directory that they share, which the overlay keeps.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::attempt::Attempt;
use crate::mapping::Mapping;
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
    mapping: &Mapping,
) -> Result<(), Error> {
    let users = user_namespace(mapping)
        .map_err(|e| attempt.error("make the user namespace of the map", e))?;
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

/// A user namespace with these maps.
fn user_namespace(mapping: &Mapping) -> Result<OwnedFd, Errno> {
    // No signal tells of the end of this process: it is nobody's child but this function's.
    let flags = libc::CLONE_NEWUSER;
    // SAFETY: a system call without memory.
    let parent = unsafe { libc::getpid() };
    // SAFETY: without CLONE_VM the new process has a copy of everything; it has one thread, in
    // which it makes system calls alone and never returns.
    let process = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(process) {
        Ok(0) => loop {
            // SAFETY: a system call without memory.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The parent may have ended before it was asked about.
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
                libc::pause();
            }
        },
        Ok(process) if process > 0 => {
            let _process = Idle(process);
            let at = |file: &str| format!("/proc/{process}/{file}");
            let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
            std::fs::write(at("uid_map"), &mapping.uids).map_err(errno)?;
            std::fs::write(at("gid_map"), &mapping.gids).map_err(errno)?;
            Ok(std::fs::File::open(at("ns/user")).map_err(errno)?.into())
        }
        _ => Err(last_error()),
    }
}

/// The process that holds a user namespace open. It ends with this.
struct Idle(i32);

impl Drop for Idle {
    fn drop(&mut self) {
        // SAFETY: the number is that of a process that only this waits for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
        }
    }
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
