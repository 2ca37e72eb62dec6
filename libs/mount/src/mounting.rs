//! Making mounts.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::MountFlags;

use crate::attempt::{Attempt, classic};
use crate::loops::{LoopDevice, LoopOptions};
use crate::options::{Parsed, parse};
use crate::{Error, Mount, erofs, idmap, overlay, unmount_all};

/// Makes the mounts in order, each at `target` or, if it names one, at its own target below.
///
/// A mount's own target is resolved as if `target` were the root directory, so that no symbolic
/// link in what was mounted before leads out of it. If one fails, those made before are undone.
///
/// # Errors
/// [`Error::Option`] before any system call; [`Error::Mount`] for the first call that failed.
pub fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), Error> {
    let parsed = mounts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    for (done, (mount, parsed)) in mounts.iter().zip(&parsed).enumerate() {
        if let Err(error) = mount_one(mount, parsed, target) {
            // Those made before are on `target` or below it. The caller needs the first error;
            // a mount that stays is seen and undone when the directory is removed.
            if done > 0 {
                let _ = unmount_all(target);
            }
            return Err(error);
        }
    }
    Ok(())
}

fn mount_one(mount: &Mount, parsed: &Parsed, root: &Path) -> Result<(), Error> {
    let attempt = Attempt { mount, target: &root.join(mount.target.trim_start_matches('/')) };
    if mount.target.is_empty() {
        return mount_at(&attempt, parsed, root);
    }
    let open = |path: &Path, flags| {
        rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
    };
    let root_fd = open(root, ResolveFlags::empty()).map_err(|e| attempt.error("open target", e))?;
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let oflags = OFlags::PATH | OFlags::CLOEXEC;
    let inner = rustix::fs::openat2(&root_fd, &*mount.target, oflags, Mode::empty(), flags)
        .map_err(|e| attempt.error("open target below root", e))?;
    // The link in /proc names exactly the directory that was opened, whatever its path says now.
    let path = PathBuf::from(format!("/proc/self/fd/{}", inner.as_raw_fd()));
    mount_at(&attempt, parsed, &path)
}

fn mount_at(attempt: &Attempt<'_>, parsed: &Parsed, at: &Path) -> Result<(), Error> {
    match &parsed.mapping {
        Some(mapping) => idmap::mount_mapped(attempt, parsed, at, mapping)?,
        None => mount_plain(attempt, parsed, at)?,
    }
    if let Some(propagation) = parsed.propagation {
        rustix::mount::mount_change(at, propagation)
            .map_err(|e| attempt.error("change propagation", e))?;
    }
    Ok(())
}

/// One mount without its propagation, owners as they are.
pub(crate) fn mount_plain(attempt: &Attempt<'_>, parsed: &Parsed, at: &Path) -> Result<(), Error> {
    let data = parsed.data.join(",");
    if attempt.mount.kind == "overlay" && overlay::is_long(&data) {
        overlay::mount_long(attempt, parsed, at)?;
    } else if attempt.mount.kind == "erofs" && !parsed.remount {
        erofs::mount(attempt, parsed, at)?;
    } else if parsed.remount {
        rustix::mount::mount_remount(at, parsed.flags.0, data)
            .map_err(|e| attempt.error("remount", e))?;
    } else if parsed.looped {
        // Held until it is mounted; then the mount is its last user.
        let device = LoopDevice::attach(Path::new(&attempt.mount.source), loop_options(parsed))?;
        let source = device.path().display().to_string();
        let mount = &Mount { source, ..attempt.mount.clone() };
        classic(&Attempt { mount, target: attempt.target }, parsed, at, data)?;
    } else {
        classic(attempt, parsed, at, data)?;
    }
    Ok(())
}

fn loop_options(parsed: &Parsed) -> LoopOptions<'static> {
    let read_only = parsed.flags.0.contains(MountFlags::RDONLY);
    LoopOptions { read_only, direct_io: parsed.direct_io, name: "" }
}
