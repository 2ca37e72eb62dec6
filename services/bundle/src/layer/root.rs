//! The directory that a layer is extracted into, and the only way to reach anything in it.
//!
//! Every path is resolved by the kernel with this directory as its root (`openat2` with
//! `RESOLVE_IN_ROOT`), so that neither an absolute symbolic link nor `..` in one leads out,
//! whoever changes what meanwhile. Entries are then made with *at calls in their parent.
//!
//! Archives list a directory's entries together: the parent opened last is kept, which makes one
//! `openat2` and one `fstat` per directory instead of per entry.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use super::path::EntryPath;

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const CONFINED: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A directory, open for *at calls.
pub(super) struct Parent {
    pub fd: OwnedFd,
    /// Its group, which new files may inherit.
    pub gid: u32,
}

/// The root and what was opened last below it.
pub(super) struct Root {
    fd: Rc<OwnedFd>,
    cached: Option<(Vec<u8>, Rc<Parent>)>,
    /// Directories made because an entry lies in them, without an entry of their own.
    pub implied: Vec<Vec<u8>>,
}

impl Root {
    /// Opens the directory `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
        Ok(Self { fd: Rc::new(fd), cached: None, implied: Vec::new() })
    }

    /// The directory at `path`, made with its parents when it is not there.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Rc<Parent>> {
        if let Some((cached, parent)) = &self.cached
            && cached == path
        {
            return Ok(Rc::clone(parent));
        }
        let fd = match self.open_at(path, DIRECTORY) {
            Err(Errno::NOENT) => self.make(path)?,
            other => other?,
        };
        let gid = rustix::fs::fstat(&fd)?.st_gid;
        let parent = Rc::new(Parent { fd, gid });
        self.cached = Some((path.to_vec(), Rc::clone(&parent)));
        Ok(parent)
    }

    /// The directory at `path` if it is there.
    pub(super) fn existing(&self, path: &[u8]) -> Result<OwnedFd> {
        self.open_at(path, DIRECTORY)
    }

    /// Opens `path` below the root.
    pub(super) fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        rustix::fs::openat2(&*self.fd, path, flags, Mode::empty(), CONFINED)
    }

    /// Forgets the kept parent, when a directory was removed or replaced.
    pub(super) fn forget(&mut self) {
        self.cached = None;
    }

    /// Makes the directories of `path` that are missing, resolving links as the kernel would.
    /// A link that leads to nothing is followed: what it names may be in a layer below.
    fn make(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let mut todo: VecDeque<Vec<u8>> = parts(path).collect();
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut current = self.existing(b"")?;
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                done.pop();
                current = self.existing(&done.join(&b'/'))?;
                continue;
            }
            let nofollow = DIRECTORY | OFlags::NOFOLLOW;
            match rustix::fs::openat(&current, &*part, nofollow, Mode::empty()) {
                Ok(next) => current = next,
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&current, &*part, Mode::from_raw_mode(0o755))?;
                    current = rustix::fs::openat(&current, &*part, nofollow, Mode::empty())?;
                    let made = EntryPath::join(&done.join(&b'/'), &part);
                    self.implied.push(made.as_bytes().to_vec());
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let link = rustix::fs::readlinkat(&current, &*part, Vec::new());
                    let link =
                        link.map_err(|e| if e == Errno::INVAL { Errno::NOTDIR } else { e })?;
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    if link.as_bytes().starts_with(b"/") {
                        done.clear();
                        current = self.existing(b"")?;
                    }
                    let target: Vec<_> = parts(link.as_bytes()).collect();
                    target.into_iter().rev().for_each(|p| todo.push_front(p));
                    continue;
                }
                Err(errno) => return Err(errno),
            }
            done.push(part);
        }
        Ok(current)
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).map(<[u8]>::to_vec)
}

/// Removes `name` in `parent` with all below it, following nothing.
pub(crate) fn remove_tree(parent: &OwnedFd, name: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for child in names(&directory)? {
        remove_tree(&directory, &child)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// The names in a directory, without `.` and `..`.
pub(crate) fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
