//! Flushing what a record is going to say.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Result;

use crate::Error;

/// Flushes the file system that the directory `path` is on.
pub(crate) fn file_system(path: &Path) -> std::result::Result<(), Error> {
    flush(path, rustix::fs::syncfs)
}

/// Flushes a directory's own attributes and names, not what is in them.
pub(crate) fn directory(path: &Path) -> std::result::Result<(), Error> {
    flush(path, rustix::fs::fsync)
}

/// Flushes a file.
pub(crate) fn file(path: &Path) -> std::result::Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let flushed = rustix::fs::openat(CWD, path, flags, Mode::empty()).and_then(rustix::fs::fsync);
    flushed.map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::File { step: "flush", path: path.to_owned(), source: errno.into() }
}

fn flush(
    path: &Path,
    how: impl FnOnce(std::os::fd::OwnedFd) -> Result<()>,
) -> std::result::Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).and_then(how).map_err(failed(path))
}
