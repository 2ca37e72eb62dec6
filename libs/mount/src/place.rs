//! Where a mount is made: at the common target, or at its own below.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::UnmountFlags;

use crate::attempt::Attempt;
use crate::{Error, Mount};

/// A mount's target, to be found anew: what it leads to changes with each mount.
pub(crate) struct Place<'a> {
    pub mount: &'a Mount,
    root: &'a Path,
    /// Its path, for messages.
    pub whole: PathBuf,
}

/// What a target leads to now.
pub(crate) struct Found {
    /// The root of the topmost mount there, or the directory.
    pub path: PathBuf,
    /// What the path in /proc stands for.
    _held: Option<OwnedFd>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(mount: &'a Mount, root: &'a Path) -> Self {
        Self { mount, root, whole: root.join(mount.target.trim_start_matches('/')) }
    }

    /// Looks where the target leads, as if the common one were the root directory.
    pub(crate) fn find(&self) -> Result<Found, Error> {
        if self.mount.target.is_empty() {
            return Ok(Found { path: self.root.to_owned(), _held: None });
        }
        let failed = |step: &'static str| {
            let attempt = Attempt { mount: self.mount, target: &self.whole };
            move |errno| attempt.error(step, errno)
        };
        let (oflags, mode) = (OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let root = rustix::fs::openat2(CWD, self.root, oflags, mode, ResolveFlags::empty());
        let root = root.map_err(failed("open target"))?;
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let inner = rustix::fs::openat2(&root, &*self.mount.target, oflags, mode, flags);
        let inner = inner.map_err(failed("open target below root"))?;
        // The link in /proc names exactly what was opened, whatever its path says now.
        let path = PathBuf::from(format!("/proc/self/fd/{}", inner.as_raw_fd()));
        Ok(Found { path, _held: Some(inner) })
    }

    /// Undoes the newest mount there. What uses it keeps it until it ends.
    pub(crate) fn undo(&self) {
        if let Ok(made) = self.find() {
            // Nothing can be done about a failure; the failure that led here is told.
            let _ = rustix::mount::unmount(&made.path, UnmountFlags::DETACH);
        }
    }
}
