//! Undoing mounts.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::meaning;
use crate::{Error, mountinfo};

/// Undoes every mount stacked on `target`, with what is mounted below them.
///
/// A mount that is in use is detached: it is gone from the tree at once and ends with its last
/// user. A target that is no mount point, or does not exist, is fine. A symbolic link at the end
/// of `target` is not followed.
///
/// # Errors
/// [`Error::Unmount`].
pub fn unmount_all(target: &Path) -> Result<(), Error> {
    let mut flags = UnmountFlags::NOFOLLOW;
    loop {
        match rustix::mount::unmount(target, flags) {
            Ok(()) => flags = UnmountFlags::NOFOLLOW,
            // Not a mount point (any more), or not there at all.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if !flags.contains(UnmountFlags::DETACH) => {
                flags |= UnmountFlags::DETACH;
            }
            Err(errno) => {
                let hint = meaning(errno, "");
                return Err(Error::Unmount {
                    target: target.to_owned(),
                    hint,
                    source: errno.into(),
                });
            }
        }
    }
}

/// Undoes every mount at or below `root`, deepest and newest first, whether `root` is itself a
/// mount point or not.
///
/// # Errors
/// [`Error::List`] and [`Error::Unmount`].
pub fn unmount_beneath(root: &Path) -> Result<(), Error> {
    for mount in mountinfo::beneath(root)?.iter().rev() {
        unmount_all(&mount.mount_point)?;
    }
    Ok(())
}
