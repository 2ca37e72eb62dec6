//! What an overlay's upper directory says by attributes.

use std::io;
use std::os::fd::OwnedFd;

use berth_tree::{names, path_at};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::open::{DIRECTORY, open_at};

/// How deep directories are followed here: each level takes a descriptor.
const DEEPEST: usize = 1000;

/// Whether every entry below `directory` is whole: no file without its data, no directory that
/// has its content elsewhere. Only then are the entries themselves the difference.
pub(super) fn is_whole(directory: &OwnedFd) -> io::Result<bool> {
    is_whole_below(directory, 0)
}

fn is_whole_below(directory: &OwnedFd, depth: usize) -> io::Result<bool> {
    if depth > DEEPEST {
        return Ok(false);
    }
    for name in names(directory)? {
        let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if has(directory, &name, "metacopy")? => return Ok(false),
            FileType::Directory => {
                if has(directory, &name, "redirect")? {
                    return Ok(false);
                }
                if !is_whole_below(&open_at(directory, &name, DIRECTORY)?, depth + 1)? {
                    return Ok(false);
                }
            }
            _ => {}
        }
    }
    Ok(true)
}

/// Whether an entry hides one of the layers below: a device 0/0, or an empty file that says so.
pub(super) fn is_whiteout(parent: &OwnedFd, name: &[u8], stat: &Stat) -> io::Result<bool> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Ok(stat.st_rdev == 0),
        FileType::RegularFile if stat.st_size == 0 => has(parent, name, "whiteout"),
        _ => Ok(false),
    }
}

/// Whether a directory hides all that the layers below have in it.
pub(super) fn is_opaque(directory: &OwnedFd) -> io::Result<bool> {
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

/// Whether an entry has the overlay's attribute `what`.
fn has(parent: &OwnedFd, name: &[u8], what: &str) -> io::Result<bool> {
    let path = path_at(parent, name);
    for prefix in ["trusted.overlay.", "user.overlay."] {
        let attribute = format!("{prefix}{what}");
        let nothing: &mut [u8] = &mut [];
        match rustix::fs::lgetxattr(&*path, attribute, nothing) {
            Ok(_) => return Ok(true),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::open::open;
    use super::*;
    use rustix::fs::{XattrFlags, setxattr};

    #[test]
    fn what_has_its_data_elsewhere_is_not_whole() {
        if !berth_testkit::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let file = dir.path().join("a/f");
        std::fs::write(&file, "").unwrap();
        let fd = open(dir.path()).unwrap();
        let below = open(&dir.path().join("a")).unwrap();
        let stat = || rustix::fs::statat(&below, "f", AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let set = |path: &std::path::Path, name: &str| {
            setxattr(path, format!("trusted.overlay.{name}"), b"y", XattrFlags::empty()).unwrap();
        };
        assert!(is_whole(&fd).unwrap() && !is_whiteout(&below, b"f", &stat()).unwrap());
        set(&file, "whiteout");
        assert!(is_whole(&fd).unwrap() && is_whiteout(&below, b"f", &stat()).unwrap());
        set(&file, "metacopy");
        assert!(!is_whole(&fd).unwrap());
        std::fs::remove_file(&file).unwrap();
        assert!(is_whole(&fd).unwrap() && !is_opaque(&below).unwrap());
        set(&dir.path().join("a"), "opaque");
        assert!(is_whole(&fd).unwrap() && is_opaque(&below).unwrap());
        set(&dir.path().join("a/b"), "redirect");
        assert!(!is_whole(&fd).unwrap());
    }
}
