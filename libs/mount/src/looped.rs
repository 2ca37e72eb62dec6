//! Mounts of files by the option `loop`.
//!
//! One file is one device, as far as this can be had: two devices on a file know nothing of what
//! the other has in memory, and a file system that both write is lost. A mount of a file that is
//! mounted already is one more of the same file system.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::attempt::{Attempt, classic};
use crate::loops::{LoopDevice, LoopOptions};
use crate::options::{Flags, Parsed};
use crate::{Error, Mount};

/// Makes the mount. Answers whether it has its flags, or they are to be set as those of a bind.
pub(crate) fn mount(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    at: &Path,
    data: &str,
) -> Result<bool, Error> {
    let file = Path::new(&attempt.mount.source);
    let read_only = parsed.flags.0.contains(MountFlags::RDONLY);
    if let Some(device) = LoopDevice::of_file(file, !read_only)? {
        match from_device(attempt, parsed.flags, at, data, &device) {
            Err(Error::Mount { source, .. }) if is_busy(&source) && read_only => {
                // What is mounted for writing is not for reading alone; the mount of it may be.
                let flags = Flags(parsed.flags.0 - MountFlags::RDONLY);
                return from_device(attempt, flags, at, data, &device).map(|()| false);
            }
            // It is being read by somebody who does not expect it to change.
            Err(Error::Mount { source, .. }) if is_busy(&source) => {}
            done => return done.map(|()| true),
        }
    }
    // Held until it is mounted; then the mount is its last user.
    let options = LoopOptions { read_only, direct_io: parsed.direct_io, name: "" };
    let device = LoopDevice::attach(file, options)?;
    from_device(attempt, parsed.flags, at, data, &device).map(|()| true)
}

fn from_device(
    attempt: &Attempt<'_>,
    flags: Flags,
    at: &Path,
    data: &str,
    device: &LoopDevice,
) -> Result<(), Error> {
    let source = device.path().display().to_string();
    let mount = &Mount { source, ..attempt.mount.clone() };
    let parsed = &Parsed { flags, ..Parsed::default() };
    classic(&Attempt { mount, target: attempt.target }, parsed, at, data.to_owned())
}

fn is_busy(error: &std::io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mount_all, unmount_all};

    #[test]
    fn a_file_that_is_mounted_twice_is_one_file_system() {
        if !berth_testkit::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let image = at("image");
        std::fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        berth_testkit::run(&format!("mkfs.ext4 -q {}", image.display())).unwrap();
        let mount = |name: &str, mode: &str| {
            std::fs::create_dir(at(name)).unwrap();
            let options = ["loop", mode].map(str::to_owned).to_vec();
            let (kind, source) = ("ext4".to_owned(), image.display().to_string());
            let mount = Mount { kind, source, target: String::new(), options };
            mount_all(&[mount], &at(name)).unwrap();
        };
        mount("write", "rw");
        mount("again", "rw");
        mount("read", "ro");
        std::fs::write(at("write/file"), "x").unwrap();
        for name in ["again", "read"] {
            assert_eq!(std::fs::read(at(name).join("file")).unwrap(), b"x", "{name}");
        }
        std::fs::write(at("again/file"), "y").unwrap();
        let refused = std::fs::write(at("read/file"), "z").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        unmount_all(&at("write")).unwrap();
        assert_eq!(std::fs::read(at("read/file")).unwrap(), b"y");
        for name in ["again", "read"] {
            unmount_all(&at(name)).unwrap();
        }
        // Nobody has it any more.
        assert!(LoopDevice::of_file(&image, false).unwrap().is_none());
        // Who reads it is not disturbed by who writes it later.
        mount("first", "ro");
        mount("second", "rw");
        std::fs::write(at("second/file"), "z").unwrap();
        for name in ["first", "second"] {
            unmount_all(&at(name)).unwrap();
        }
    }
}
