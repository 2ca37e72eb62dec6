//! Copying a folder out of a tree: owners, modes, times, attributes, links and holes as they are there.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::{content, open_in_root, times, xattrs};

const NOFOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(NOFOLLOW);

/// Attributes that are copied: those that layers set. What others set is the kernel's, or of a mount.
const COPIED: [&[u8]; 4] = [b"user.", b"trusted.", b"security.capability", b"system.posix_acl_"];
/// Of them, those that say something to an overlay.
const OVERLAYS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// So many bytes of names are remembered for files with several; others become files of their own.
const MOST_NAMES: usize = 32 << 20;

/// How much may be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Files, folders, links.
    pub entries: u64,
    /// Bytes of files; holes count too.
    pub bytes: u64,
    /// Folders in one another: each takes a frame and two descriptors.
    pub depth: usize,
    /// How long it may take.
    pub time: Duration,
}

/// A folder that was not copied, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else is there.
    #[error("{0:?} is not a folder")]
    NotAFolder(String),
    /// More than the bounds allow.
    #[error("it has more than {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much there may be.
        most: u64,
    },
    /// A step failed.
    #[error("{step} {path:?}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// With what, below the folder.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Copies what is in the folder `inside` of the tree below `root` into the empty folder `to`, which gets its owner and
/// mode. Links of the path lead back into the tree. No device, fifo or socket is opened. Answers whether it is there.
///
/// # Errors
/// [`Error`]; what was copied by then stays.
pub fn copy_folder(root: &Path, inside: &Path, to: &Path, bounds: Bounds) -> Result<bool, Error> {
    let failed = |step, path: &Path| {
        let path = path.to_string_lossy().into_owned();
        move |errno: Errno| Error::Step { step, path, source: errno.into() }
    };
    let open = |path: &Path| rustix::fs::open(path, FOLDER, Mode::empty());
    let root = open(root).map_err(failed("open", root))?;
    let from = match open_in_root(&root, inside, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::NOTDIR) => {
            return Err(Error::NotAFolder(inside.to_string_lossy().into_owned()));
        }
        opened => opened.map_err(failed("open", inside))?,
    };
    let to = open(to).map_err(failed("open", to))?;
    let mut copy = Copy {
        bounds,
        until: Instant::now().checked_add(bounds.time),
        top: &to,
        entries: 0,
        bytes: 0,
        at: Vec::new(),
        linked: HashMap::new(),
        names: 0,
    };
    let copied = copy.folder(&from, &to, 0);
    let path = || String::from_utf8_lossy(&copy.path()).into_owned();
    copied.map(|()| true).map_err(|stopped| match stopped {
        Stop::Much { what, most } => Error::TooMuch { what, most },
        Stop::Failed(errno) => Error::Step { step: "copy", path: path(), source: errno.into() },
    })
}

/// Why a copy is not whole.
enum Stop {
    Much { what: &'static str, most: u64 },
    Failed(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Stop::Failed(errno)
    }
}

struct Copy<'a> {
    bounds: Bounds,
    until: Option<Instant>,
    /// The folder that is copied to.
    top: &'a OwnedFd,
    entries: u64,
    bytes: u64,
    /// Names from the top to where the copy is.
    at: Vec<Vec<u8>>,
    /// The first copy of each file with several names: its path below the top.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Bytes of those paths.
    names: usize,
}

impl Copy<'_> {
    fn path(&self) -> Vec<u8> {
        self.at.join(&b'/')
    }

    fn folder(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Stop> {
        if depth > self.bounds.depth {
            let most = self.bounds.depth as u64;
            return Err(Stop::Much { what: "folders in one another", most });
        }
        for name in self.names(from)? {
            self.at.push(name);
            self.entry(from, to, depth)?;
            self.at.pop();
        }
        let stat = rustix::fs::fstat(from)?;
        Ok(attributes(from, to, &stat)?)
    }

    /// The names in a folder, as many of them as there may be.
    fn names(&mut self, folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Stop> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.entries += 1;
            if self.entries > self.bounds.entries {
                return Err(Stop::Much { what: "entries", most: self.bounds.entries });
            }
            names.push(name.to_vec());
        }
        Ok(names)
    }

    /// Copies what is at the last name.
    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Stop> {
        let name = self.at.last().cloned().unwrap_or_default();
        let stat = rustix::fs::statat(from, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(to, &*name, Mode::RWXU)?;
                let open = |parent| rustix::fs::openat(parent, &*name, FOLDER, Mode::empty());
                self.folder(&open(from)?, &open(to)?, depth + 1)
            }
            FileType::RegularFile if self.is_linked(to, &name, &stat)? => Ok(()),
            FileType::RegularFile => self.file(from, to, &name),
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, &*name, Vec::new())?;
                rustix::fs::symlinkat(&link, to, &*name)?;
                Ok(owner(to, &name, &stat)?)
            }
            // It is of its process.
            FileType::Socket => Ok(()),
            kind => {
                let mode = Mode::from_raw_mode(stat.st_mode);
                rustix::fs::mknodat(to, &*name, kind, mode, stat.st_rdev)?;
                owner(to, &name, &stat)?;
                Ok(rustix::fs::chmodat(to, &*name, mode, AtFlags::empty())?)
            }
        }
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &[u8]) -> Result<(), Stop> {
        // Should it be another kind by now: no fifo keeps us, and none is read.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | NOFOLLOW;
        let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&source)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Stop::Failed(Errno::STALE));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.bounds.bytes {
            return Err(Stop::Much { what: "bytes", most: self.bounds.bytes });
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NOFOLLOW;
        let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        content(&source, &target, size, self.until)?;
        Ok(attributes(&source, &target, &stat)?)
    }

    /// Makes a file another name of its copy, if there is one.
    fn is_linked(&mut self, to: &OwnedFd, name: &[u8], stat: &Stat) -> Result<bool, Stop> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let file = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&file) {
            // Folders that were made here, by which no link is followed.
            return match rustix::fs::linkat(self.top, &**first, to, name, AtFlags::empty()) {
                Ok(()) => Ok(true),
                Err(Errno::NAMETOOLONG | Errno::MLINK) => Ok(false),
                Err(errno) => Err(errno.into()),
            };
        }
        let path = self.path();
        self.names += path.len();
        if self.names <= MOST_NAMES {
            self.linked.insert(file, path);
        }
        Ok(false)
    }
}

fn attributes(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    // A change of owner takes set-id bits away, and capabilities.
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    for (name, value) in xattrs(from)? {
        let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if !begins(&COPIED) || begins(&OVERLAYS) {
            continue;
        }
        match rustix::fs::fsetxattr(to, &*name, &value, XattrFlags::empty()) {
            // There are file systems without.
            Err(Errno::OPNOTSUPP) => {}
            set => set?,
        }
    }
    rustix::fs::futimens(to, &times(stat))
}

/// Owner and times of what cannot be opened.
fn owner(to: &OwnedFd, name: &[u8], stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests;
