//! What a file has beside its content.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::Timestamps;
use rustix::io::{Errno, Result};

/// The times of a file, as they are set.
#[must_use]
pub fn times(stat: &rustix::fs::Stat) -> Timestamps {
    let time = |seconds: i64, nanos: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// The extended attributes of an open file, none where the file system has none.
///
/// # Errors
/// What the kernel answers.
pub fn xattrs(file: impl AsFd) -> Result<Xattrs> {
    let file = file.as_fd();
    read(|names| rustix::fs::flistxattr(file, names), |n, v| rustix::fs::fgetxattr(file, n, v))
}

/// The extended attributes of what cannot be opened: a link, a device or a fifo.
///
/// # Errors
/// What the kernel answers.
pub fn xattrs_at(parent: &OwnedFd, name: &[u8]) -> Result<Xattrs> {
    let path = path_at(parent, name);
    read(|names| rustix::fs::llistxattr(&*path, names), |n, v| rustix::fs::lgetxattr(&*path, n, v))
}

/// A path for calls that take no descriptor of a directory (attributes, before Linux 6.13).
#[must_use]
pub fn path_at(parent: &OwnedFd, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat()
}

/// Names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Result<Xattrs> {
    let mut names = vec![0; 1024];
    let length = loop {
        match list(&mut names) {
            Ok(length) => break length,
            Err(Errno::RANGE) => names.resize(names.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    };
    let mut found = Vec::new();
    if length == 0 {
        return Ok(found);
    }
    let mut value = vec![0; 65536];
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        match get(name, &mut value) {
            Ok(length) => found.push((name.to_vec(), value[..length].to_vec())),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}
