//! Making what an entry tells of, in the place of what is there.

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{Extraction, Step};
use crate::Error;
use crate::layer::Whiteouts;
use crate::layer::attributes::Attributes;
use crate::layer::path::EntryPath;
use crate::layer::root::Parent;
use crate::layer::tar::{Entry, Extent, Kind, TarReader};
use crate::layer::whiteout::{is_whiteout, make_opaque};

impl Extraction<'_> {
    pub(super) fn directory(
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

    pub(super) fn make<R: BufRead>(
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
}
