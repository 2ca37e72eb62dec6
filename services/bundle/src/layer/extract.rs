//! The walk through a layer's entries, making each.

mod admit;
mod finish;
mod make;

use std::collections::BTreeMap;
use std::io::BufRead;

use berth_tree::remove_tree;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::path::EntryPath;
use super::root::{Parent, Root};
use super::tar::{Entry, Failure, Kind, TarReader};
use super::whiteout::{Mark, Unpacked, hide, make_opaque, mark};
use super::{Target, Whiteouts};
use crate::Error;

/// A step that failed: its name and why. The entry is added where it is known.
type Step<T> = Result<T, (&'static str, Errno)>;

/// One layer being extracted.
pub(super) struct Extraction<'a> {
    target: &'a Target<'a>,
    root: Root,
    /// Directories get their attributes at the end: extracting into them changes their times, and
    /// their modes may forbid it.
    directories: BTreeMap<Vec<u8>, Attributes>,
    unpacked: Unpacked,
    /// Bytes of memory that `directories` takes, about.
    memory: u64,
    entries: u64,
    devices: u64,
    bytes: u64,
    /// The last entry's name, for messages.
    current: String,
}

impl<'a> Extraction<'a> {
    pub(super) fn new(target: &'a Target<'a>) -> Result<Self, Error> {
        let merged = target.whiteouts == Whiteouts::Merged;
        let root = Root::open(target.root, merged).map_err(|errno| Error::File {
            step: "open the directory to extract into",
            path: target.root.into(),
            source: errno.into(),
        })?;
        Ok(Self {
            target,
            root,
            directories: BTreeMap::new(),
            unpacked: Unpacked::default(),
            memory: 0,
            entries: 0,
            devices: 0,
            bytes: 0,
            current: String::new(),
        })
    }

    /// Extracts every entry.
    pub(super) fn run<R: BufRead>(&mut self, archive: &mut TarReader<R>) -> Result<(), Error> {
        loop {
            match archive.next_entry() {
                Ok(Some(entry)) => self.entry(entry, archive)?,
                Ok(None) => return Ok(()),
                Err(failure) => return Err(self.malformed(failure)),
            }
        }
    }

    /// The archive could not be read on after the current entry.
    pub(super) fn malformed(&self, failure: Failure) -> Error {
        Error::Malformed { layer: self.target.layer.into(), entry: self.current.clone(), failure }
    }

    fn hostile(&self, reason: &'static str) -> Error {
        Error::Hostile { layer: self.target.layer.into(), entry: self.current.clone(), reason }
    }

    fn beyond(&self, bound: u64, what: &'static str) -> Error {
        let (layer, entry) = (self.target.layer.into(), self.current.clone());
        Error::Bound { layer, entry, bound, what }
    }

    fn failed(&self, (step, errno): (&'static str, Errno)) -> Error {
        let (layer, entry) = (self.target.layer.into(), self.current.clone());
        Error::Entry { layer, entry, step, source: errno.into() }
    }

    fn entry<R: BufRead>(
        &mut self,
        mut entry: Entry,
        archive: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let path = self.admit(&entry)?;
        let attributes = Attributes::of(&mut entry);
        if path.is_root() {
            if entry.kind != Kind::Directory {
                return Err(self.hostile("the root is replaced by something else"));
            }
            self.finish_later(Vec::new(), attributes);
            return Ok(());
        }
        let (directory, name) = path.split();
        let parent = self.root.parent(directory);
        let parent = parent.map_err(|errno| match errno {
            Errno::NOTDIR => self.hostile("a part of its path is no directory"),
            Errno::LOOP => self.hostile("a part of its path is a loop of symbolic links"),
            errno => self.failed(("open its directory", errno)),
        })?;
        match mark(name) {
            Mark::None => {}
            mark => return self.whiteout(&mark, &parent),
        }
        // From here on by its one name, without links: what is to be known of a file until the
        // end is found again by whatever name it is spoken of.
        let path = EntryPath::join(&parent.path, name);
        self.check(&path)?;
        if entry.kind == Kind::Directory {
            self.directory(&parent, name, &path, attributes).map_err(|step| self.failed(step))?;
        } else {
            self.make(&parent, name, &path, &entry, &attributes, archive)?;
        }
        if self.target.whiteouts == Whiteouts::Merged {
            self.unpacked.insert(&path);
        }
        Ok(())
    }

    /// Keeps a directory's attributes for the end.
    fn finish_later(&mut self, path: Vec<u8>, attributes: Attributes) {
        self.memory += path.len() as u64 + attributes.memory();
        self.directories.insert(path, attributes);
    }

    /// A whiteout in `parent`. As any entry's its path goes through symbolic links inside the root,
    /// of this layer and, where those below are in the same directory, of those; as containerd's.
    fn whiteout(&mut self, mark: &Mark<'_>, parent: &Parent) -> Result<(), Error> {
        if let Mark::Gone(b"" | b"." | b"..") = mark {
            return Err(self.hostile("the whiteout names nothing"));
        }
        match mark {
            Mark::Opaque => self.opaque(parent),
            Mark::Gone(name) => self.gone(parent, name),
            Mark::None | Mark::Ignored => Ok(()),
        }
        .map_err(|step| self.failed(step))
    }

    fn opaque(&mut self, parent: &Parent) -> Step<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent.fd, ".", flags, Mode::empty());
        let opened = opened.map_err(|e| ("open the opaque directory", e))?;
        match self.target.whiteouts {
            Whiteouts::Overlay { userxattr } => {
                make_opaque(&opened, userxattr).map_err(|e| ("mark the directory opaque", e))
            }
            Whiteouts::Merged => {
                self.root.forget();
                self.unpacked
                    .clear(&opened, &parent.path)
                    .map_err(|e| ("empty the opaque directory", e))
            }
        }
    }

    fn gone(&mut self, parent: &Parent, name: &[u8]) -> Step<()> {
        match self.target.whiteouts {
            Whiteouts::Overlay { userxattr } => {
                hide(&parent.fd, name, userxattr).map_err(|e| ("make the whiteout", e))
            }
            Whiteouts::Merged => {
                self.root.forget();
                let path = EntryPath::join(&parent.path, name);
                self.unpacked
                    .remove_others(&parent.fd, name, &path)
                    .map_err(|e| ("remove what is whited out", e))
            }
        }
    }

    /// Removes what is at the entry's place.
    fn clear_way(&mut self, parent: &Parent, name: &[u8], path: &EntryPath) -> Step<()> {
        remove_tree(&parent.fd, name).map_err(|e| ("replace what is there", e))?;
        self.root.forget();
        let path = path.as_bytes();
        let below = [path, b"/"].concat();
        self.directories.retain(|known, _| known != path && !known.starts_with(&below));
        Ok(())
    }
}
