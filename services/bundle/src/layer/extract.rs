//! The walk through a layer's entries, making each.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::path::EntryPath;
use super::removal::remove_tree;
use super::root::{Parent, Root};
use super::tar::{Entry, Extent, Failure, Kind, TarReader};
use super::whiteout::{Mark, Unpacked, hide, is_whiteout, make_opaque, mark};
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

    /// Checks an entry's bounds and its name.
    fn admit(&mut self, entry: &Entry) -> Result<EntryPath, Error> {
        let limits = self.target.limits;
        self.current = String::from_utf8_lossy(&entry.name).into_owned();
        self.entries += 1;
        if self.entries > limits.entries {
            return Err(self.beyond(limits.entries, "entries"));
        }
        if matches!(entry.kind, Kind::Character | Kind::Block) {
            self.devices += 1;
            if self.devices > limits.devices {
                return Err(self.beyond(limits.devices, "devices"));
            }
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > limits.bytes {
            return Err(self.beyond(limits.bytes, "bytes of files"));
        }
        if entry.name.contains(&0) {
            return Err(self.hostile("its name has a NUL byte"));
        }
        if self.memory + self.root.memory + self.unpacked.memory() > limits.memory {
            let what = "bytes of memory for names and attributes of directories";
            return Err(self.beyond(limits.memory, what));
        }
        let path = EntryPath::new(&entry.name)
            .ok_or_else(|| self.hostile("its name leads out of the layer"))?;
        self.check(&path)?;
        Ok(path)
    }

    /// Checks the length and depth of a path.
    fn check(&self, path: &EntryPath) -> Result<(), Error> {
        let limits = self.target.limits;
        if path.as_bytes().len() > limits.path {
            return Err(self.beyond(limits.path as u64, "bytes of a path"));
        }
        if path.depth() > limits.depth {
            return Err(self.beyond(limits.depth as u64, "directories on a path"));
        }
        Ok(())
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

    fn directory(
        &mut self,
        parent: &Parent,
        name: &[u8],
        path: &EntryPath,
        attributes: Attributes,
    ) -> Step<()> {
        let make = || rustix::fs::mkdirat(&parent.fd, name, Mode::from_raw_mode(0o755));
        match make() {
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| ("look at what is there", e))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    self.replace_by_directory(parent, name, path)?;
                }
            }
            other => other.map_err(|e| ("make the directory", e))?,
        }
        self.finish_later(path.as_bytes().to_vec(), attributes);
        Ok(())
    }

    /// A whiteout of this layer followed by a directory of that name: the directory is new, what
    /// is below must not shine through.
    fn replace_by_directory(&mut self, parent: &Parent, name: &[u8], path: &EntryPath) -> Step<()> {
        let was_whiteout =
            is_whiteout(&parent.fd, name).map_err(|e| ("look at what is there", e))?;
        self.clear_way(parent, name, path)?;
        rustix::fs::mkdirat(&parent.fd, name, Mode::from_raw_mode(0o755))
            .map_err(|e| ("make the directory", e))?;
        if let (true, Whiteouts::Overlay { userxattr }) = (was_whiteout, self.target.whiteouts) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(&parent.fd, name, flags, Mode::empty());
            let directory = directory.map_err(|e| ("open the directory", e))?;
            make_opaque(&directory, userxattr).map_err(|e| ("mark the directory opaque", e))?;
        }
        Ok(())
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

    fn make<R: BufRead>(
        &mut self,
        parent: &Rc<Parent>,
        name: &[u8],
        path: &EntryPath,
        entry: &Entry,
        attributes: &Attributes,
        archive: &mut TarReader<R>,
    ) -> Result<(), Error> {
        if entry.kind == Kind::File {
            let file = self.open_new(parent, name, path, attributes);
            let file = file.map_err(|step| self.failed(step))?;
            self.fill(&file, entry, archive)?;
            return attributes
                .apply(&file, Some(parent.gid))
                .map_err(|errno| self.failed(("set owner, mode, attributes and times", errno)));
        }
        let made = match self.node(parent, name, entry) {
            Err((_, Errno::EXIST)) if !self.is_same(parent, name, entry) => {
                self.clear_way(parent, name, path).and_then(|()| self.node(parent, name, entry))
            }
            Err((_, Errno::EXIST)) => Ok(()),
            other => other,
        };
        made.map_err(|(step, errno)| match (entry.kind, errno) {
            (Kind::HardLink, Errno::NOENT) => self.hostile("its hard link's target is not there"),
            (Kind::HardLink, Errno::PERM) => self.hostile("its hard link's target is a directory"),
            (Kind::HardLink, Errno::XDEV) => self.hostile("its hard link's target is outside"),
            _ => self.failed((step, errno)),
        })?;
        if entry.kind == Kind::HardLink {
            return Ok(());
        }
        attributes
            .apply_at(&parent.fd, name, entry.kind == Kind::Symlink)
            .map_err(|errno| self.failed(("set owner, mode, attributes and times", errno)))
    }

    /// Whether a hard link is to be made to what is at its place already.
    fn is_same(&self, parent: &Parent, name: &[u8], entry: &Entry) -> bool {
        let Some(link) = EntryPath::new(&entry.link).filter(|_| entry.kind == Kind::HardLink)
        else {
            return false;
        };
        let (directory, target) = link.split();
        let stat = |fd: &OwnedFd, name: &[u8]| {
            rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .map(|stat| (stat.st_dev, stat.st_ino))
        };
        self.root.existing(directory).and_then(|fd| stat(&fd, target)).ok()
            == stat(&parent.fd, name).ok()
    }

    fn open_new(
        &mut self,
        parent: &Parent,
        name: &[u8],
        path: &EntryPath,
        attributes: &Attributes,
    ) -> Step<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let open = || rustix::fs::openat(&parent.fd, name, flags, mode);
        match open() {
            Err(Errno::EXIST) => {
                self.clear_way(parent, name, path)?;
                open()
            }
            other => other,
        }
        .map_err(|e| ("make the file", e))
    }

    /// Writes a file's data, leaving its holes.
    fn fill<R: BufRead>(
        &mut self,
        file: &OwnedFd,
        entry: &Entry,
        archive: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let whole = [Extent { offset: 0, length: entry.data }];
        let extents = entry.extents.as_deref().unwrap_or(&whole);
        for extent in extents.iter().filter(|extent| extent.length > 0) {
            if extent.offset > 0 {
                rustix::fs::seek(file, SeekFrom::Start(extent.offset))
                    .map_err(|e| self.failed(("skip a hole of the file", e)))?;
            }
            let mut left = extent.length;
            while left > 0 {
                let data = archive.data().map_err(|failure| self.malformed(failure))?;
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let data = &data[..data.len().min(most)];
                let written = rustix::io::write(file, data)
                    .map_err(|e| self.failed(("write the file", e)))?;
                archive.consume(written);
                left -= written as u64;
            }
        }
        if entry.extents.is_some() {
            rustix::fs::ftruncate(file, entry.size)
                .map_err(|e| self.failed(("set the sparse file's size", e)))?;
        }
        Ok(())
    }

    fn node(&self, parent: &Parent, name: &[u8], entry: &Entry) -> Step<()> {
        let device = |kind| {
            let device = rustix::fs::makedev(entry.device.0, entry.device.1);
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::mknodat(&parent.fd, name, kind, mode, device)
        };
        match entry.kind {
            Kind::Symlink => rustix::fs::symlinkat(&*entry.link, &parent.fd, name)
                .map_err(|e| ("make the symbolic link", e)),
            Kind::Character => {
                device(FileType::CharacterDevice).map_err(|e| ("make the device", e))
            }
            Kind::Block => device(FileType::BlockDevice).map_err(|e| ("make the device", e)),
            Kind::Fifo => device(FileType::Fifo).map_err(|e| ("make the fifo", e)),
            Kind::HardLink => {
                let step = |e| ("make the hard link", e);
                let link = EntryPath::new(&entry.link).ok_or(step(Errno::XDEV))?;
                let (directory, target) = link.split();
                let from = self.root.existing(directory).map_err(step)?;
                let flags = AtFlags::empty();
                rustix::fs::linkat(&from, target, &parent.fd, name, flags).map_err(step)
            }
            Kind::File | Kind::Directory => Ok(()),
        }
    }

    /// Gives directories their attributes.
    pub(super) fn finish(mut self) -> Result<(u64, Vec<Vec<u8>>), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directories = std::mem::take(&mut self.directories);
        let mut implied = std::mem::take(&mut self.root.implied);
        implied.push(Vec::new());
        implied.retain(|path| !directories.contains_key(path));
        implied.sort();
        implied.dedup();
        // Before attributes are set: a directory's own mode may forbid to enter it.
        for (path, times) in self.root.take_times() {
            if directories.contains_key(&path) || is_new(&implied, &path) {
                continue;
            }
            let directory = self.root.open_by_name(&path, flags);
            let set = directory.and_then(|directory| rustix::fs::futimens(directory, &times));
            match set {
                // Removed or replaced by this layer since.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => {
                    self.current = String::from_utf8_lossy(&path).into_owned();
                    return Err(self.failed(("set the directory's times back", errno)));
                }
            }
        }
        // Deepest first.
        for (path, attributes) in directories.iter().rev() {
            let directory = self.root.open_by_name(path, flags);
            if let Err(errno) = directory.and_then(|fd| attributes.apply(fd, None)) {
                self.current = String::from_utf8_lossy(path).into_owned();
                return Err(self.failed(("set the directory's attributes", errno)));
            }
        }
        Ok((self.entries, implied))
    }
}

/// Whether this layer has made the directory. The root it has not, implied as it is.
fn is_new(implied: &[Vec<u8>], path: &Vec<u8>) -> bool {
    !path.is_empty() && implied.binary_search(path).is_ok()
}
