//! Which files differ, written as a layer.
//!
//! An overlay's upper directory is the difference already. Two other directories are walked side
//! by side, names in order, so that equal inputs make equal layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use berth_tree::names;
use rustix::fs::{AtFlags, FileType, Stat};

use super::archive::{Archive, Item};
use super::links::Links;
use super::open::{DIRECTORY, FILE, open_at};
use super::same::{is_same, shown_xattrs, shown_xattrs_at};
use super::upper::{is_opaque, is_whiteout};
use crate::layer::tar::Mtime;

/// How deep directories are followed: each level takes a frame and three descriptors.
const DEEPEST: usize = 1000;

/// A layer being written.
pub(super) struct Walk<W> {
    archive: Archive<W>,
    links: Links,
    /// Unchanged directories on the way to where the walk is: written as soon as something below
    /// them is, since applying that changes their times.
    pending: Vec<(OwnedFd, Vec<u8>, Vec<u8>, Stat)>,
    /// No later modification time than this is written, in seconds since 1970.
    latest: Option<i64>,
}

impl<W: Write> Walk<W> {
    pub(super) fn new(output: W, latest: Option<i64>) -> Self {
        let (links, pending) = (Links::default(), Vec::new());
        Self { archive: Archive::new(output), links, pending, latest }
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.archive.finish()
    }

    /// Writes an overlay's upper directory, its whiteouts in the archive's form.
    pub(super) fn upper(&mut self, directory: &OwnedFd, prefix: &[u8]) -> io::Result<()> {
        check_depth(prefix)?;
        let mut children = names(directory)?;
        children.sort();
        for name in children {
            let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if is_whiteout(directory, &name, &stat)? {
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

    /// Writes what the directory `right` has otherwise than `left`. The directory itself is in no
    /// layer, as with containerd.
    pub(super) fn all_changes(
        &mut self,
        left: Option<&OwnedFd>,
        right: &OwnedFd,
    ) -> io::Result<()> {
        self.changes(left, right, b"")?;
        self.add_links(right)
    }

    fn changes(
        &mut self,
        left: Option<&OwnedFd>,
        right: &OwnedFd,
        prefix: &[u8],
    ) -> io::Result<()> {
        check_depth(prefix)?;
        for (name, (before, now)) in pairs(left, right)? {
            let path = [prefix, &name].concat();
            let Some(now) = now else {
                self.write_pending()?;
                self.whiteout(prefix, &name)?;
                continue;
            };
            let same = match (&before, left) {
                (Some(before), Some(left)) => {
                    is_same(left, before, right, &now, &name)? && self.links.agree(before, &now)
                }
                _ => false,
            };
            if !same {
                self.write_pending()?;
                self.item(right, &name, &path, &now)?;
            } else if is_directory(&now) {
                let parent = rustix::io::fcntl_dupfd_cloexec(right, 0)?;
                self.pending.push((parent, name.clone(), path.clone(), now));
            } else {
                self.links.unchanged(&now, &path);
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

    /// Writes unchanged names of files that are written under a new or changed name: a layer
    /// holds the whole file, and each name that it has is a link to it.
    fn add_links(&mut self, root: &OwnedFd) -> io::Result<()> {
        for path in self.links.missing() {
            let mut directory = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
            let mut parts = path.split(|b| *b == b'/').peekable();
            let mut at = Vec::new();
            while let Some(name) = parts.next() {
                at.extend_from_slice(name);
                let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if parts.peek().is_none() {
                    self.item(&directory, name, &at, &stat)?;
                    break;
                }
                if !self.links.is_written(&at) {
                    self.item(&directory, name, &at, &stat)?;
                }
                directory = open_at(&directory, name, DIRECTORY)?;
                at.push(b'/');
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
            // No file, no time: the same deletion is the same bytes, whatever the epoch is.
            mtime: Mtime::default(),
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
        if let Some(first) = self.links.write(stat, path) {
            (item.kind, item.link) = (tar::EntryType::Link, &first);
            return self.archive.append(&item, io::empty());
        }
        let attributes = match kind {
            FileType::RegularFile | FileType::Directory => Vec::new(),
            _ => shown_xattrs_at(parent, name)?,
        };
        item.xattrs = &attributes;
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

    /// Whole seconds, as containerd's layers have them.
    fn mtime(&self, stat: &Stat) -> Mtime {
        let seconds = self.latest.map_or(stat.st_mtime, |latest| latest.min(stat.st_mtime));
        Mtime { seconds, nanos: 0 }
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn check_depth(prefix: &[u8]) -> io::Result<()> {
    if prefix.iter().filter(|b| **b == b'/').count() <= DEEPEST {
        return Ok(());
    }
    let text = format!("directories are nested deeper than {DEEPEST}");
    Err(io::Error::new(io::ErrorKind::QuotaExceeded, text))
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
