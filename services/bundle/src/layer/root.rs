//! The directory that a layer is extracted into, and the only way to reach anything in it.
//!
//! Every path is resolved by the kernel with this directory as its root (`openat2` with
//! `RESOLVE_IN_ROOT`), so that neither an absolute symbolic link nor `..` in one leads out,
//! whoever changes what meanwhile. Entries are then made with *at calls in their parent.
//!
//! Archives list a directory's entries together: the parent opened last is kept, which makes one
//! `openat2` and one `fstat` per directory instead of per entry.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use berth_tree::times;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat, Timestamps};
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
    /// Where it is below the root, without symbolic links on the way: its one name, whatever
    /// links an entry's name goes through.
    pub path: Vec<u8>,
}

/// The root and what was opened last below it.
pub(super) struct Root {
    fd: Rc<OwnedFd>,
    cached: Option<(Vec<u8>, Rc<Parent>)>,
    /// Directories made because an entry lies in them, without an entry of their own.
    pub implied: Vec<Vec<u8>>,
    /// Times of directories of the layers below, from before this layer made something in them.
    /// Only where those layers are in the same directory.
    times: Option<BTreeMap<Vec<u8>, Timestamps>>,
    /// Bytes of memory that the two take, about.
    pub memory: u64,
}

impl Root {
    /// Opens the directory `path`. `merged` tells that the layers below are in it.
    pub(super) fn open(path: &Path, merged: bool) -> Result<Self> {
        let fd = Rc::new(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?);
        let times = merged.then(BTreeMap::new);
        Ok(Self { fd, cached: None, implied: Vec::new(), times, memory: 0 })
    }

    /// The directory at `path`, made with its parents when it is not there.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Rc<Parent>> {
        if let Some((cached, parent)) = &self.cached
            && cached == path
        {
            return Ok(Rc::clone(parent));
        }
        let (fd, real) = match self.open_by_name(path, DIRECTORY) {
            Ok(fd) => (fd, path.to_vec()),
            // What is there of the path has no links.
            Err(Errno::NOENT) => (self.make(path)?, path.to_vec()),
            Err(Errno::LOOP) => {
                let fd = match self.open_at(path, DIRECTORY) {
                    Err(Errno::NOENT) => self.make(path)?,
                    other => other?,
                };
                let real = self.place(&fd)?;
                (fd, real)
            }
            Err(errno) => return Err(errno),
        };
        let stat = rustix::fs::fstat(&fd)?;
        self.remember(&real, &stat);
        let parent = Rc::new(Parent { fd, gid: stat.st_gid, path: real });
        self.cached = Some((path.to_vec(), Rc::clone(&parent)));
        Ok(parent)
    }

    /// The directory at `path` if it is there.
    pub(super) fn existing(&self, path: &[u8]) -> Result<OwnedFd> {
        self.open_at(path, DIRECTORY)
    }

    /// Opens `path` below the root, following links inside it.
    pub(super) fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        self.resolve(path, flags, CONFINED)
    }

    /// Opens what is called `path`, following no link: LOOP if there is one.
    pub(super) fn open_by_name(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        self.resolve(path, flags, CONFINED | ResolveFlags::NO_SYMLINKS)
    }

    fn resolve(&self, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        rustix::fs::openat2(&*self.fd, path, flags, Mode::empty(), resolve)
    }

    /// Forgets the kept parent, when a directory was removed or replaced.
    pub(super) fn forget(&mut self) {
        self.cached = None;
    }

    /// Times that are to be given back to directories at the end.
    pub(super) fn take_times(&mut self) -> BTreeMap<Vec<u8>, Timestamps> {
        self.times.take().unwrap_or_default()
    }

    fn remember(&mut self, path: &[u8], stat: &Stat) {
        if let Some(known) = &mut self.times
            && !known.contains_key(path)
        {
            known.insert(path.to_vec(), times(stat));
            self.memory += path.len() as u64 + 128;
        }
    }

    /// Where below the root an open directory is.
    fn place(&self, directory: &OwnedFd) -> Result<Vec<u8>> {
        let path = |fd: &OwnedFd| -> Result<Vec<u8>> {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
        };
        let (root, place) = (path(&self.fd)?, path(directory)?);
        let root = root.strip_suffix(b"/").unwrap_or(&root);
        match place.strip_prefix(root) {
            Some([b'/', below @ ..]) => Ok(below.to_vec()),
            Some([]) => Ok(Vec::new()),
            _ => Err(Errno::XDEV),
        }
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
                    let above = done.join(&b'/');
                    self.remember(&above, &rustix::fs::fstat(&current)?);
                    rustix::fs::mkdirat(&current, &*part, Mode::from_raw_mode(0o755))?;
                    current = rustix::fs::openat(&current, &*part, nofollow, Mode::empty())?;
                    let made = EntryPath::join(&above, &part).as_bytes().to_vec();
                    self.memory += made.len() as u64 + 32;
                    self.implied.push(made);
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
