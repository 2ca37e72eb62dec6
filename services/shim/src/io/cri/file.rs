//! The file of a log: where it is, whether it still is there, and its predecessors.
//!
//! Others rotate it, too: they rename it, and what follows goes to the new file at its path.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::io::losses::append;
use crate::{Error, log};

/// When a log is begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// In bytes; 0: it never is.
    pub max_size: u64,
    /// With the current one.
    pub max_files: u32,
}

pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    /// Device and inode of the file.
    place: (u64, u64),
    size: u64,
    /// It could not be begun anew, and that was told.
    stuck: bool,
}

/// What a file did not take.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// So many bytes, which are whole records, it did take.
    pub kept: usize,
    pub error: io::Error,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> Result<LogFile, Error> {
        let step = || Error::io(format!("open log {}", path.display()));
        let file = open(path).map_err(step())?;
        let meta = file.metadata().map_err(step())?;
        let (place, size) = ((meta.dev(), meta.ino()), meta.len());
        Ok(LogFile { path: path.to_owned(), rotation, file, place, size, stuck: false })
    }

    /// Whether it is to be begun anew before so many bytes more.
    pub(super) fn is_full(&self, more: usize) -> bool {
        let Rotation { max_size, .. } = self.rotation;
        max_size > 0 && more > 0 && self.size + more as u64 > max_size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Appends whole records to the file that is at the path now.
    pub(super) fn append(&mut self, records: &[u8]) -> Result<(), Unwritten> {
        let followed = self.follow();
        if let Err(error) = self.told(followed) {
            // The one that was opened before is still there under another name, or lost.
            if self.file.metadata().map_or(true, |meta| meta.nlink() == 0) {
                return Err(Unwritten { kept: 0, error });
            }
        }
        let (kept, error) = match append(&self.file, records) {
            Ok(()) => (records.len(), None),
            Err((taken, error)) => {
                let whole = records[..taken].iter().rposition(|byte| *byte == b'\n');
                let kept = whole.map_or(0, |end| end + 1);
                self.cut(taken - kept);
                (kept, Some(error))
            }
        };
        self.size += kept as u64;
        error.map_or(Ok(()), |error| Err(Unwritten { kept, error }))
    }

    /// Takes back the beginning of a record, as nothing could tell it from a whole one.
    fn cut(&self, count: usize) {
        if count > 0
            && let Ok(meta) = self.file.metadata()
        {
            // What does not even become shorter is beyond help, and the loss is told anyway.
            let _ = self.file.set_len(meta.len().saturating_sub(count as u64));
        }
    }

    /// Goes over to the file at the path, if that is another one.
    fn follow(&mut self) -> io::Result<()> {
        let found = rustix::fs::stat(&self.path);
        if found.is_ok_and(|found| (found.st_dev, found.st_ino) == self.place) {
            return Ok(());
        }
        let file = open(&self.path)?;
        let meta = file.metadata()?;
        (self.file, self.place, self.size) = (file, (meta.dev(), meta.ino()), meta.len());
        Ok(())
    }

    /// Renames `x.log` to `x.log.1`, that to `x.log.2` and so on, and begins a new file. Where that
    /// cannot be the present one grows on.
    pub(super) fn rotate(&mut self, more: usize) {
        let rotated = self.try_rotate(more);
        let _ = self.told(rotated);
    }

    fn try_rotate(&mut self, more: usize) -> io::Result<()> {
        // One that was renamed already is not to push out the others once more.
        self.follow()?;
        if self.is_empty() || !self.is_full(more) {
            return Ok(());
        }
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        if self.rotation.max_files == 1 {
            std::fs::remove_file(&self.path)?;
        }
        for number in (1..self.rotation.max_files).rev() {
            match std::fs::rename(numbered(number - 1), numbered(number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        self.follow()
    }

    /// Tells the shim's log of the first of several failures that follow each other.
    fn told(&mut self, begun: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &begun
            && !self.stuck
        {
            let path = self.path.display();
            log::warn(format_args!("begin log {path} anew: {error}; the earlier file goes on"));
        }
        self.stuck = begun.is_err();
        begun
    }
}

/// Opens a log, with its folders. A pipe at its path is an error: nothing waits for a reader.
fn open(path: &Path) -> io::Result<File> {
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let open = || {
        let mut options = File::options();
        options.create(true).append(true).mode(0o640).custom_flags(nonblock).open(path)
    };
    match (open(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            open()
        }
        (opened, _) => opened,
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
