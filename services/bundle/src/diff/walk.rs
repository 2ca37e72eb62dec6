//! Which files differ, written as a layer.
//!
//! An overlay's upper directory is the difference already. Two other directories are walked side
//! by side, names in order, so that equal inputs make equal layers.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::archive::{Archive, Item};
use crate::layer::implied::xattrs;
use crate::layer::root::names;
use crate::layer::tar::Mtime;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A layer being written.
pub(super) struct Walk<W> {
    archive: Archive<W>,
    /// The first name written of each file with several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Unchanged directories on the way to where the walk is: written as soon as something below
    /// them is, since applying that changes their times.
    pending: Vec<(OwnedFd, Vec<u8>, Vec<u8>, Stat)>,
    /// No later modification time than this is written.
    latest: Option<Mtime>,
}

/// Opens a directory to walk.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?)
}

fn open_at(parent: &OwnedFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

impl<W: Write> Walk<W> {
    pub(super) fn new(output: W, latest: Option<Mtime>) -> Self {
        Self { archive: Archive::new(output), linked: HashMap::new(), pending: Vec::new(), latest }
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.archive.finish()
    }

    /// Writes an overlay's upper directory, its whiteouts in the archive's form.
    pub(super) fn upper(&mut self, directory: &OwnedFd, prefix: &[u8]) -> io::Result<()> {
        let mut children = names(directory)?;
        children.sort();
        for name in children {
            let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                self.whiteout(prefix, &name)?;
                continue;
            }
            let path = [prefix, &name].concat();
            self.item(directory, &name, &path, &stat)?;
            if kind == FileType::Directory {
                let child = open_at(directory, &name, DIRECTORY)?;
                let below = [&*path, b"/"].concat();
                if is_opaque(&child)? {
                    self.empty_file(&[&*below, b".wh..wh..opq"].concat())?;
                }
                self.upper(&child, &below)?;
            }
        }
        Ok(())
    }

    /// Writes what the directory `right` has otherwise than `left`.
    pub(super) fn changes(
        &mut self,
        left: Option<&OwnedFd>,
        right: &OwnedFd,
        prefix: &[u8],
    ) -> io::Result<()> {
        for (name, (before, now)) in pairs(left, right)? {
            let path = [prefix, &name].concat();
            let Some(now) = now else {
                self.write_pending()?;
                self.whiteout(prefix, &name)?;
                continue;
            };
            let is_directory =
                |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let same = match (&before, left) {
                (Some(before), Some(left)) => is_same(left, before, right, &now, &name)?,
                _ => false,
            };
            if !same {
                self.write_pending()?;
                self.item(right, &name, &path, &now)?;
            } else if is_directory(&now) {
                let parent = rustix::io::fcntl_dupfd_cloexec(right, 0)?;
                self.pending.push((parent, name.clone(), path.clone(), now));
            }
            if is_directory(&now) {
                let left = match (left, before.filter(is_directory)) {
                    (Some(left), Some(_)) => Some(open_at(left, &name, DIRECTORY)?),
                    _ => None,
                };
                let right = open_at(right, &name, DIRECTORY)?;
                self.changes(left.as_ref(), &right, &[&*path, b"/"].concat())?;
                // Still there: nothing below it has changed.
                self.pending.pop_if(|(_, _, waiting, _)| *waiting == path);
            }
        }
        Ok(())
    }

    fn write_pending(&mut self) -> io::Result<()> {
        for (parent, name, path, stat) in std::mem::take(&mut self.pending) {
            self.item(&parent, &name, &path, &stat)?;
        }
        Ok(())
    }

    fn whiteout(&mut self, prefix: &[u8], name: &[u8]) -> io::Result<()> {
        self.empty_file(&[prefix, b".wh.", name].concat())
    }

    fn empty_file(&mut self, path: &[u8]) -> io::Result<()> {
        let item = Item {
            path,
            kind: tar::EntryType::Regular,
            mode: 0,
            uid: 0,
            gid: 0,
            // No file, no time: the same deletion is the same bytes.
            mtime: self.latest.unwrap_or_default(),
            size: 0,
            link: b"",
            device: (0, 0),
            xattrs: &[],
        };
        self.archive.append(&item, io::empty())
    }

    fn item(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8], stat: &Stat) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut item = Item {
            path,
            kind: tar::EntryType::Regular,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: self.mtime(stat),
            size: 0,
            link: b"",
            device: (0, 0),
            xattrs: &[],
        };
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                let first = first.clone();
                (item.kind, item.link) = (tar::EntryType::Link, &first);
                return self.archive.append(&item, io::empty());
            }
            self.linked.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        match kind {
            FileType::RegularFile => {
                let file = open_at(parent, name, FILE)?;
                let attributes = shown_xattrs(&file)?;
                item.xattrs = &attributes;
                item.size = u64::try_from(stat.st_size).unwrap_or(0);
                self.archive.append(&item, File::from(file))
            }
            FileType::Directory => {
                let attributes = shown_xattrs(&open_at(parent, name, DIRECTORY)?)?;
                let path = [path, b"/"].concat();
                (item.path, item.xattrs) = (&path, &attributes);
                item.kind = tar::EntryType::Directory;
                self.archive.append(&item, io::empty())
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(parent, name, Vec::new())?;
                (item.kind, item.link) = (tar::EntryType::Symlink, link.as_bytes());
                self.archive.append(&item, io::empty())
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let is_block = kind == FileType::BlockDevice;
                item.kind = if is_block { tar::EntryType::Block } else { tar::EntryType::Char };
                let device = stat.st_rdev;
                item.device = (rustix::fs::major(device), rustix::fs::minor(device));
                self.archive.append(&item, io::empty())
            }
            FileType::Fifo => {
                item.kind = tar::EntryType::Fifo;
                self.archive.append(&item, io::empty())
            }
            // A socket is of its process; no archive can hold it.
            _ => Ok(()),
        }
    }

    fn mtime(&self, stat: &Stat) -> Mtime {
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let mtime = Mtime { seconds: stat.st_mtime, nanos };
        match self.latest {
            Some(latest) if (mtime.seconds, mtime.nanos) > (latest.seconds, latest.nanos) => latest,
            _ => mtime,
        }
    }
}

type Pairs = BTreeMap<Vec<u8>, (Option<Stat>, Option<Stat>)>;

/// Every name of two directories with what each has there.
fn pairs(left: Option<&OwnedFd>, right: &OwnedFd) -> io::Result<Pairs> {
    let stat = |directory: &OwnedFd, name: &[u8]| {
        rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
    };
    let mut pairs = Pairs::new();
    if let Some(left) = left {
        for name in names(left)? {
            let found = stat(left, &name)?;
            pairs.entry(name).or_default().0 = Some(found);
        }
    }
    for name in names(right)? {
        let found = stat(right, &name)?;
        pairs.entry(name).or_default().1 = Some(found);
    }
    Ok(pairs)
}

fn is_opaque(directory: &OwnedFd) -> io::Result<bool> {
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        let mut value = [0; 1];
        match rustix::fs::fgetxattr(directory, name, &mut value) {
            Ok(1) if value == *b"y" => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}

/// A file's attributes without the overlay's own.
fn shown_xattrs(file: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = xattrs(file)?;
    found.retain(|(name, _)| {
        !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
    });
    found.sort();
    Ok(found)
}

/// Whether a file is unchanged, as far as that can be told without reading it; a time without
/// nanoseconds tells too little, then it is read.
fn is_same(
    left: &OwnedFd,
    before: &Stat,
    right: &OwnedFd,
    now: &Stat,
    name: &[u8],
) -> io::Result<bool> {
    let owner = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_rdev);
    if owner(before) != owner(now) {
        return Ok(false);
    }
    match FileType::from_raw_mode(now.st_mode) {
        FileType::Directory => {
            // Names that came or went change the time.
            let time = |s: &Stat| (s.st_mtime, s.st_mtime_nsec);
            if time(before) != time(now) {
                return Ok(false);
            }
            let xattrs = |parent| shown_xattrs(&open_at(parent, name, DIRECTORY)?);
            Ok(xattrs(left)? == xattrs(right)?)
        }
        FileType::Symlink => {
            let link = |parent| rustix::fs::readlinkat(parent, name, Vec::new());
            Ok(link(left)? == link(right)?)
        }
        FileType::RegularFile => {
            let content = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec);
            if content(before) != content(now) {
                return Ok(false);
            }
            let (a, b) = (open_at(left, name, FILE)?, open_at(right, name, FILE)?);
            if shown_xattrs(&a)? != shown_xattrs(&b)? {
                return Ok(false);
            }
            Ok(now.st_mtime_nsec != 0 || equal(File::from(a), File::from(b))?)
        }
        _ => Ok(true),
    }
}

fn equal(a: File, b: File) -> io::Result<bool> {
    let mut a = io::BufReader::with_capacity(1 << 16, a);
    let mut b = io::BufReader::with_capacity(1 << 16, b);
    let (mut x, mut y) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = a.read(&mut x)?;
        if read == 0 {
            return Ok(b.read(&mut y)? == 0);
        }
        match b.read_exact(&mut y[..read]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if x[..read] != y[..read] {
            return Ok(false);
        }
    }
}
