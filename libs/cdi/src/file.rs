//! Reading files that others write.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

/// The text of a regular file of at most so many bytes. A fifo keeps nobody.
pub(crate) fn read(path: &Path, most: u64) -> Result<String, String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // What is no regular file is not opened for reading: that alone can do something to a device.
    let look = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    is_file(&look.map_err(text)?)?;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(text)?;
    is_file(&file)?;
    let mut bytes = Vec::new();
    let read = File::from(file).take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("it is larger than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

fn is_file(fd: &OwnedFd) -> Result<(), String> {
    let stat = rustix::fs::fstat(fd).map_err(text)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_file.then_some(()).ok_or_else(|| "it is no regular file".to_owned())
}

fn text(errno: rustix::io::Errno) -> String {
    std::io::Error::from(errno).to_string()
}
