//! Whether images can be made, mounted and kept as configured here.

use std::fs::File;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

use tokio::sync::Semaphore;

use super::{EROFS, Erofs, ErofsSettings, protect};
use crate::Error;
use crate::erofs::{BLOB, is_installed};
use crate::snapshots::driver::overlay::{self, Overlay};
use crate::snapshots::driver::place::Place;
use crate::snapshots::driver::{Layout, refuses_overlays};

/// Why the snapshotter does not work there, if it does not. What has snapshots had a program to
/// make them: that it is gone by now is told by what needs it.
fn why_not(layout: &Layout, settings: &ErofsSettings) -> Result<Option<Error>, Error> {
    let no = |reason| Error::Unsupported { what: "snapshotter", name: EROFS.to_owned(), reason };
    if !is_known() {
        return Ok(Some(no("the kernel has no EROFS, load it with `modprobe erofs`")));
    }
    if !is_installed() && !layout.is_used()? {
        return Ok(Some(no("there is no mkfs.erofs on PATH, install erofs-utils")));
    }
    if settings.fsverity && !keeps_verity(layout)? {
        let reason = "enable_fsverity is set, and the file system or the kernel has no fs-verity, \
                      unset it or give another root_path";
        return Ok(Some(no(reason)));
    }
    Ok(None)
}

/// Whether the kernel knows the file system; asking loads its module.
fn is_known() -> bool {
    match fsopen(EROFS, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => true,
        Err(Errno::NODEV) => false,
        Err(_) => fs_err::read_to_string("/proc/filesystems")
            .is_ok_and(|list| list.lines().any(|line| line.trim() == EROFS)),
    }
}

/// Whether a file can be sealed there: one is, and goes.
fn keeps_verity(layout: &Layout) -> Result<bool, Error> {
    let path = layout.root.join("probe");
    let failed = |source| Error::File { step: "try fs-verity on", path: path.clone(), source };
    fs_err::write(&path, "x").map_err(failed)?;
    let sealed = File::open(&path).map(|file| {
        protect::enable_verity(&file).is_ok() && protect::has_verity(&file).unwrap_or(false)
    });
    fs_err::remove_file(&path).map_err(failed)?;
    sealed.map_err(failed)
}

impl Erofs {
    /// Opens the snapshotter below the node's `root`, where `overlay` works, if it does, or below
    /// its own.
    ///
    /// # Errors
    /// Why it does not work there.
    pub(in crate::snapshots::driver) fn open(
        place: Place,
        settings: ErofsSettings,
        overlay: Option<&Overlay>,
    ) -> Result<Self, Error> {
        place.take()?;
        let layout = Layout::open(place.path)?;
        if let Some(why) = why_not(&layout, &settings)? {
            return Err(why);
        }
        let maps = match overlay.filter(|_| settings.root.is_none()) {
            Some(overlay) => overlay.maps,
            None => {
                // Writable layers with file systems of their own need nothing of the one around.
                if settings.writable == 0
                    && let Some(why) = refuses_overlays(&layout)?
                {
                    return Err(why);
                }
                overlay::is_mapping_supported(&layout.root)
            }
        };
        let options = overlay::options(&settings.mount_options, overlay::in_user_namespace());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let making = Semaphore::new(cores);
        let erofs = Self { layout, maps, options, settings, making };
        erofs.clear_shown()?;
        Ok(erofs)
    }

    /// Where images are shown for a while.
    pub(super) fn shown(&self) -> PathBuf {
        self.layout.root.join("shown")
    }

    /// Makes that directory, without what an earlier run has left in it.
    fn clear_shown(&self) -> Result<(), Error> {
        let shown = self.shown();
        berth_mount::unmount_beneath(&shown)?;
        let clear = || {
            fs_err::create_dir_all(&shown)?;
            for entry in fs_err::read_dir(&shown)? {
                // Empty, since nothing is mounted there.
                fs_err::remove_dir(entry?.path())?;
            }
            Ok(())
        };
        clear().map_err(|source| Error::File { step: "clear", path: shown.clone(), source })
    }

    /// Checks that the images of `parents` are sealed, if they are to be.
    pub(super) fn check_sealed(&self, parents: &[u64]) -> Result<(), Error> {
        if !self.settings.fsverity {
            return Ok(());
        }
        for id in parents {
            let path = self.at(*id, BLOB);
            let sealed = File::open(&path).and_then(protect::has_verity);
            let failed = |source| Error::File { step: "look at", path: path.clone(), source };
            if !sealed.map_err(failed)? {
                let reason = "fsverity is not enabled on it, remove the image and pull it again";
                let name = path.display().to_string();
                return Err(Error::State { what: "layer", name, reason });
            }
        }
        Ok(())
    }
}
