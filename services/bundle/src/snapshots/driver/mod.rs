//! The two ways of keeping a snapshot on disk.
//!
//! Both have below their root: `snapshots/ID`, `staging/ID` for layers that no snapshot shows yet,
//! and `trash/ID` for what is being deleted.

mod native;
mod overlay;

pub use native::NATIVE;
pub use overlay::{OVERLAYFS, OverlaySettings};

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_ids::Labels;
use berth_mount::Mount;
use native::Native;
use overlay::{Overlay, is_supported};

use super::{Kind, Usage, usage};
use crate::Error;
use crate::layer::Whiteouts;

/// One snapshotter's directories.
pub(crate) enum Driver {
    Overlay(Overlay),
    Native(Native),
}

/// A snapshotter that does not work on this node.
pub struct Absent {
    /// Its name.
    pub name: &'static str,
    /// Why it does not.
    pub why: Error,
}

/// The directories that a driver has below its root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    fn open(root: PathBuf) -> Result<Self, Error> {
        for part in ["snapshots", "staging", "trash"] {
            let path = root.join(part);
            fs_err::create_dir_all(&path).map_err(|source| Error::File {
                step: "make directory",
                path,
                source,
            })?;
        }
        Ok(Self { root })
    }

    fn path(&self, part: &str, id: u64) -> PathBuf {
        self.root.join(part).join(id.to_string())
    }

    /// Whether there are snapshots.
    fn is_used(&self) -> Result<bool, Error> {
        let path = self.root.join("snapshots");
        let failed = |source| Error::File { step: "list directory", path: path.clone(), source };
        Ok(std::fs::read_dir(&path).map_err(failed)?.next().is_some())
    }
}

/// Makes one directory of this mode.
pub(super) fn make(path: &Path, mode: u32) -> Result<(), Error> {
    std::fs::DirBuilder::new().mode(mode).create(path).map_err(|source| Error::File {
        step: "make directory",
        path: path.to_owned(),
        source,
    })
}

/// Why overlayfs does not work there, if it does not. What has snapshots had it before: a disk that
/// is full by now, with no room to try it, is not to hide them.
fn refuses_overlays(layout: &Layout) -> Result<Option<Error>, Error> {
    if layout.is_used()? {
        return Ok(None);
    }
    match is_supported(&layout.root) {
        Ok(()) => Ok(None),
        // The kernel's answer; anything else says nothing about overlays.
        Err(why @ Error::Mount(berth_mount::Error::Mount { .. })) => {
            tracing::warn!(error = berth_errors::chain(&why), "no overlayfs here");
            Ok(Some(why))
        }
        Err(error) => Err(error),
    }
}

impl Driver {
    /// All drivers that work below `root`, the best first, and those that do not.
    pub(super) fn open_all(
        root: &Path,
        settings: OverlaySettings,
    ) -> Result<(Vec<Self>, Vec<Absent>), Error> {
        let native = Native { layout: Layout::open(root.join(NATIVE))? };
        let layout = Layout::open(root.join(OVERLAYFS))?;
        let (mut drivers, mut absent) = (Vec::new(), Vec::new());
        match refuses_overlays(&layout)? {
            None => drivers.push(Driver::Overlay(Overlay::new(layout, settings))),
            Some(why) => absent.push(Absent { name: OVERLAYFS, why }),
        }
        drivers.push(Driver::Native(native));
        Ok((drivers, absent))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Driver::Overlay(_) => OVERLAYFS,
            Driver::Native(_) => NATIVE,
        }
    }

    fn layout(&self) -> &Layout {
        match self {
            Driver::Overlay(overlay) => &overlay.layout,
            Driver::Native(native) => &native.layout,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.layout().root
    }

    /// Where snapshot `id` is.
    pub(super) fn directory(&self, id: u64) -> PathBuf {
        self.layout().path("snapshots", id)
    }

    /// Where the layer `id` that no snapshot shows yet is.
    pub(super) fn staging(&self, id: u64) -> PathBuf {
        self.layout().path("staging", id)
    }

    /// Where deleted directories wait for their removal.
    pub(super) fn trash(&self) -> PathBuf {
        self.layout().root.join("trash")
    }

    /// Makes the directory of a new snapshot at `path`, its parents topmost first.
    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        match self {
            Driver::Overlay(overlay) => overlay.create(path, kind, parents),
            Driver::Native(native) => native.create(path, kind, parents),
        }
    }

    /// The mounts that show a snapshot.
    pub(super) fn mounts(
        &self,
        id: u64,
        kind: Kind,
        parents: &[u64],
        labels: &Labels,
    ) -> Vec<Mount> {
        match self {
            Driver::Overlay(overlay) => overlay.mounts(id, kind, parents, labels),
            Driver::Native(native) => native.mounts(id, kind, parents),
        }
    }

    /// The directory of a snapshot's own files in the snapshot's directory `path`.
    pub(super) fn content(&self, path: &Path) -> PathBuf {
        match self {
            Driver::Overlay(_) => path.join("fs"),
            Driver::Native(_) => path.to_owned(),
        }
    }

    /// What the files in the snapshot's directory `path` take.
    pub(super) fn usage(&self, path: &Path) -> Result<Usage, Error> {
        usage::of(&self.content(path))
    }

    /// How deletions are kept in a layer.
    pub(super) fn whiteouts(&self) -> Whiteouts {
        match self {
            Driver::Overlay(overlay) => Whiteouts::Overlay { userxattr: overlay.userxattr },
            Driver::Native(_) => Whiteouts::Merged,
        }
    }

    /// What clients may rely on, as containerd calls it.
    pub(super) fn capabilities(&self) -> Vec<&'static str> {
        let Driver::Overlay(overlay) = self else { return Vec::new() };
        let capabilities = [
            ("remap-ids", overlay.maps),
            ("only-remap-ids", !overlay.settings.slow_chown),
            // A snapshot may be put on its parent when it is committed.
            ("rebase", !overlay.userxattr),
        ];
        capabilities.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    /// Whether owners are shown as others when a snapshot is mounted.
    pub(super) fn maps(&self) -> bool {
        matches!(self, Driver::Overlay(overlay) if overlay.maps)
    }

    /// Whether a snapshot has all files of its parents.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Driver::Native(_))
    }

    /// Whether layers can be extracted before those below them.
    pub(super) fn is_parallel(&self) -> bool {
        matches!(self, Driver::Overlay(_))
    }
}

#[cfg(test)]
mod tests {
    use berth_mount::{Mount, TempMount};

    use super::*;

    /// Needs root.
    #[test]
    fn a_full_disk_hides_no_snapshots() {
        let folder = tempfile::tempdir().unwrap();
        let (kind, source, target) = ("tmpfs".to_owned(), "tmpfs".to_owned(), String::new());
        let options = vec!["nr_inodes=32".to_owned()];
        let disk = Mount { kind, source, target, options };
        let disk = TempMount::new(&[disk], folder.path(), "disk").unwrap();
        let names = || -> Result<Vec<_>, Error> {
            Ok(Driver::open_all(disk.path(), OverlaySettings::default())?
                .0
                .iter()
                .map(Driver::name)
                .collect())
        };
        assert_eq!(names().unwrap(), [OVERLAYFS, NATIVE]);
        let full = (0..).map(|number| fs_err::File::create(disk.path().join(number.to_string())));
        let full = full.map_while(Result::ok).count();
        assert!(full > 0, "nothing could be written");
        assert!(names().is_err(), "the first start on a full disk has to fail");
        fs_err::remove_file(disk.path().join("0")).unwrap();
        make(&disk.path().join(OVERLAYFS).join("snapshots/1"), 0o700).unwrap();
        assert_eq!(names().unwrap(), [OVERLAYFS, NATIVE]);
    }
}
