//! Images that the kernel keeps as they are: fs-verity, and the attribute of immutable files.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, IFlags, StatxAttributes, StatxFlags};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// The kernel's `struct fsverity_enable_arg`.
#[repr(C)]
struct Enable {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved: u32,
    signature: u64,
    more: [u64; 11],
}

const ENABLE: Opcode = opcode::write::<Enable>(b'f', 133);

const SHA256: u32 = 1;

/// Seals a file: what is read of it from now on is what it has now, or an error.
///
/// # Errors
/// The kernel's; a file that is sealed is fine.
pub(super) fn enable_verity(file: &File) -> io::Result<()> {
    let enable = Enable {
        version: 1,
        hash_algorithm: SHA256,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved: 0,
        signature: 0,
        more: [0; 11],
    };
    // SAFETY: the number belongs to a structure of this size, which is read before the call ends.
    match unsafe { ioctl(file, Setter::<ENABLE, Enable>::new(enable)) } {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether a file is sealed.
pub(super) fn has_verity(file: impl AsFd) -> io::Result<bool> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(found.stx_attributes.contains(StatxAttributes::VERITY))
}

/// Lets nobody change, rename or remove a file, where the file system has that.
pub(super) fn freeze(path: &Path) {
    if let Err(error) = flag(path, true) {
        tracing::warn!(path = %path.display(), %error, "an image is not immutable");
    }
}

/// Takes [`freeze`] back, of what is a file.
pub(crate) fn thaw(path: &Path) {
    match flag(path, false) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), %error, "an image may be immutable still");
        }
        _ => {}
    }
}

fn flag(path: &Path, immutable: bool) -> io::Result<()> {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let before = rustix::fs::ioctl_getflags(&file)?;
    let mut after = before;
    after.set(IFlags::IMMUTABLE, immutable);
    if after != before {
        rustix::fs::ioctl_setflags(&file, after)?;
    }
    Ok(())
}
