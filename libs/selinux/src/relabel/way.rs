//! The way to what is labelled. A container that writes to a folder of the machine can put a link in it, and hope that
//! somebody has the path labelled: what that leads to would be the container's then.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use super::{ATTRIBUTE, Error, HANDLE, failed, place, place_of};
use crate::Label;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// The bits of who is not the owner, and writes.
const OTHERS: u32 = 0o022;

/// Opens what is at a path that is to get a label. A link is followed when it is in a folder that only root writes to,
/// and that is not labelled for containers, whose root is root: the type of that label is not the one to be given.
///
/// # Errors
/// [`Error::Link`] for another; [`Error::Step`].
pub(super) fn open(path: &Path, label: &str) -> Result<OwnedFd, Error> {
    let from = |path: &Path| {
        let begin = if path.is_absolute() { "/" } else { "." };
        rustix::fs::openat(CWD, begin, HANDLE, Mode::empty()).map_err(failed("look at"))
    };
    let (mut at, mut left, mut links) = (from(path)?, parts(path), 0);
    while let Some(name) = left.pop() {
        let next = rustix::fs::openat(&at, &name, HANDLE, Mode::empty());
        let next = next.map_err(failed("look at"))?;
        let stat = rustix::fs::fstat(&next).map_err(failed("look at"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            at = next;
            continue;
        }
        if !is_roots(&at, label)? {
            return Err(Error::Link(place_of(&at)?));
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(failed("look at")(Errno::LOOP));
        }
        let target = rustix::fs::readlinkat(&next, "", Vec::new()).map_err(failed("look at"))?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            at = from(target)?;
        }
        left.extend(parts(target));
    }
    Ok(at)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part: &Component| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(named).map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether nobody but this machine's root can have put a link into a folder.
fn is_roots(folder: &OwnedFd, label: &str) -> Result<bool, Error> {
    let stat = rustix::fs::fstat(folder).map_err(failed("look at"))?;
    if stat.st_uid != 0 || stat.st_mode & OTHERS != 0 {
        return Ok(false);
    }
    let mut has = [0; 4096];
    let has = match rustix::fs::getxattr(place(folder), ATTRIBUTE, &mut has[..]) {
        Ok(length) => {
            String::from_utf8_lossy(has[..length].strip_suffix(b"\0").unwrap_or(&has[..length]))
                .into_owned()
        }
        // Neither a label, nor a file system that keeps any.
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(true),
        Err(errno) => return Err(failed("look at")(errno)),
    };
    let kind = |label: &str| label.parse::<Label>().map(|label| label.kind).ok();
    Ok(kind(&has).is_none_or(|has| Some(has) != kind(label)))
}
