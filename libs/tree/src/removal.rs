//! Removing a tree of any depth.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::names;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory above the one that is being emptied.
struct Level {
    /// Device and inode, to know it again by.
    identity: (u64, u64),
    /// Names in it that are left.
    left: Vec<Vec<u8>>,
    /// The one that is being emptied.
    name: Vec<u8>,
}

/// Removes what is at a path with all below it, following nothing. It is fine if nothing is there.
///
/// # Errors
/// What the kernel answers.
pub fn remove(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().as_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let removed = rustix::fs::openat(CWD, parent, flags, Mode::empty())
        .and_then(|parent| remove_tree(&parent, name));
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Removes `name` in `parent` with all below it, following nothing.
///
/// Containers may nest directories deeper than a stack or a table of descriptors is: one
/// directory is open at a time, and the way up is `..`, checked to be where the way down was.
///
/// # Errors
/// What the kernel answers: [`Errno::NOENT`] if it is not there.
pub fn remove_tree(parent: &OwnedFd, name: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => {
            let top = enter(parent, name, errno)?;
            empty(top)?;
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        }
        other => other,
    }
}

fn empty(top: OwnedFd) -> Result<()> {
    let mut left = names(&top)?;
    let mut current = top;
    let mut above: Vec<Level> = Vec::new();
    loop {
        if let Some(name) = left.pop() {
            match rustix::fs::unlinkat(&current, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno @ (Errno::ISDIR | Errno::PERM)) => {
                    let below = enter(&current, &name, errno)?;
                    let inside = names(&below)?;
                    let left = std::mem::replace(&mut left, inside);
                    above.push(Level { identity: identity(&current)?, left, name });
                    current = below;
                }
                Err(errno) => return Err(errno),
            }
        } else if let Some(level) = above.pop() {
            let up = rustix::fs::openat(&current, "..", DIRECTORY, Mode::empty())?;
            if identity(&up)? != level.identity {
                // Somebody moves directories about; nothing outside is to be touched.
                return Err(Errno::STALE);
            }
            rustix::fs::unlinkat(&up, &*level.name, AtFlags::REMOVEDIR)?;
            (current, left) = (up, level.left);
        } else {
            return Ok(());
        }
    }
}

/// Opens the directory that could not be unlinked. PERM also stands for files that may not be.
fn enter(parent: &OwnedFd, name: &[u8], refused: Errno) -> Result<OwnedFd> {
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => Err(refused),
        other => other,
    }
}

fn identity(directory: &OwnedFd) -> Result<(u64, u64)> {
    rustix::fs::fstat(directory).map(|stat| (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_deeper_than_descriptors_and_stacks_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &std::path::Path| {
            rustix::fs::openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty()).unwrap()
        };
        let outside = dir.path().join("outside");
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("kept"), "x").unwrap();
        let mut current = open(dir.path());
        for _ in 0..20_000 {
            rustix::fs::mkdirat(&current, "d", Mode::RWXU).unwrap();
            current = rustix::fs::openat(&current, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        rustix::fs::symlinkat(&outside, &current, "link").unwrap();
        drop(current);
        let parent = open(dir.path());
        remove_tree(&parent, b"d").unwrap();
        assert!(!dir.path().join("d").exists() && outside.join("kept").exists());
        assert_eq!(remove_tree(&parent, b"d"), Err(Errno::NOENT));
    }
}
