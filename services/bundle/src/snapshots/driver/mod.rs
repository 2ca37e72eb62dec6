//! The ways of keeping a snapshot on disk.
//!
//! All have below their root: `snapshots/ID`, `staging/ID` for layers that no snapshot shows yet,
//! and `trash/ID` for what is being deleted.

mod blockfile;
mod btrfs;
mod erofs;
mod layout;
mod mapped;
mod native;
mod overlay;
mod place;
mod shown;
mod trees;

pub use blockfile::{BLOCKFILE, BlockfileSettings};
pub use btrfs::{BTRFS, BtrfsSettings};
pub use erofs::{EROFS, ErofsSettings};
pub use native::NATIVE;
pub use overlay::{OVERLAYFS, OverlaySettings};

use std::path::{Path, PathBuf};

use berth_ids::Labels;
use berth_mount::Mount;
use blockfile::Blockfile;
use btrfs::Btrfs;
use erofs::Erofs;
pub(crate) use layout::Layout;
pub(super) use layout::make;
use layout::make_private;
use native::Native;
use overlay::{Overlay, refuses_overlays};
use place::Place;
use shown::Shown;
use trees::delete_tree;

use super::{Kind, Settings, Usage, usage};
use crate::layer::Whiteouts;
use crate::{Error, durable};

/// One snapshotter's directories.
pub(crate) enum Driver {
    Overlay(Overlay),
    Native(Native),
    Btrfs(Btrfs),
    Blockfile(Blockfile),
    Erofs(Erofs),
}

/// Where each of them keeps its snapshots, or would.
pub fn folders(root: &Path, settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let Settings { overlay, native_root, btrfs, blockfile, erofs, .. } = settings;
    let places = [
        Place::of(NATIVE, native_root.as_ref(), root),
        Place::of(OVERLAYFS, overlay.root.as_ref(), root),
        Place::of(BTRFS, btrfs.root_path.as_ref(), root),
        Place::of(BLOCKFILE, blockfile.root_path.as_ref(), root),
        Place::of(EROFS, erofs.root.as_ref(), root),
    ];
    places.into_iter().map(|place| place.path.join("snapshots"))
}

/// Deletes what is at a path. That nothing is there is no error.
pub(super) type Deletion = fn(&Path) -> Result<(), Error>;

/// A snapshotter that does not work on this node.
pub struct Absent {
    /// Its name.
    pub name: &'static str,
    /// Why it does not.
    pub why: Error,
}

impl Driver {
    /// All drivers that work below `root`, the best first, and those that do not.
    pub(super) fn open_all(
        root: &Path,
        settings: &Settings,
    ) -> Result<(Vec<Self>, Vec<Absent>), Error> {
        let place = Place::of(NATIVE, settings.native_root.as_ref(), root);
        place.take()?;
        let native = Native { layout: Layout::open(place.path)? };
        let place = Place::of(OVERLAYFS, settings.overlay.root.as_ref(), root);
        place.take()?;
        let layout = Layout::open(place.path)?;
        let (mut drivers, mut absent) = (Vec::new(), Vec::new());
        match refuses_overlays(&layout)? {
            None => drivers.push(Driver::Overlay(Overlay::new(layout, settings.overlay.clone()))),
            Some(why) => absent.push(Absent { name: OVERLAYFS, why }),
        }
        drivers.push(Driver::Native(native));
        let overlay = match drivers.first() {
            Some(Driver::Overlay(overlay)) => Some(overlay),
            _ => None,
        };
        for (name, opened) in Self::open_special(root, settings, overlay) {
            match opened {
                Ok(driver) => drivers.push(driver),
                Err(why) => {
                    let error = berth_errors::chain(&why);
                    match why {
                        // Nobody has set it up.
                        Error::Skipped(_) | Error::Unsupported { .. } => {
                            tracing::debug!(error, "no {name} here")
                        }
                        _ => tracing::warn!(error, "no {name} here"),
                    }
                    absent.push(Absent { name, why });
                }
            }
        }
        Ok((drivers, absent))
    }

    /// Those that need more than any file system has. What is wrong with one of them is its own
    /// trouble.
    fn open_special(
        root: &Path,
        settings: &Settings,
        overlay: Option<&Overlay>,
    ) -> Vec<(&'static str, Result<Driver, Error>)> {
        let Settings { btrfs, blockfile, erofs, .. } = settings;
        let disk = Btrfs::open(Place::of(BTRFS, btrfs.root_path.as_ref(), root));
        let blocks = Place::of(BLOCKFILE, blockfile.root_path.as_ref(), root);
        let blocks = Blockfile::open(blocks, blockfile, &settings.temporary);
        let images = Place::of(EROFS, erofs.root.as_ref(), root);
        let images = Erofs::open(images, erofs.clone(), overlay);
        vec![
            (BTRFS, disk.map(Driver::Btrfs)),
            (BLOCKFILE, blocks.map(Driver::Blockfile)),
            (EROFS, images.map(Driver::Erofs)),
        ]
    }

    /// Whether what is wrong with it is its own trouble.
    pub(super) fn is_special(&self) -> bool {
        !matches!(self, Driver::Overlay(_) | Driver::Native(_))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Driver::Overlay(_) => OVERLAYFS,
            Driver::Native(_) => NATIVE,
            Driver::Btrfs(_) => BTRFS,
            Driver::Blockfile(_) => BLOCKFILE,
            Driver::Erofs(_) => EROFS,
        }
    }

    fn layout(&self) -> &Layout {
        match self {
            Driver::Overlay(overlay) => &overlay.layout,
            Driver::Native(native) => &native.layout,
            Driver::Btrfs(btrfs) => &btrfs.layout,
            Driver::Blockfile(blockfile) => &blockfile.layout,
            Driver::Erofs(erofs) => &erofs.layout,
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

    /// The label that snapshot `id` has of itself, and its value.
    pub(super) fn label(&self, id: u64) -> Option<(&'static str, String)> {
        if let Driver::Overlay(overlay) = self { overlay.label(id) } else { None }
    }

    /// Whether a removal waits until the files are deleted.
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Driver::Overlay(overlay) if overlay.settings.sync_remove)
    }

    /// Makes the directory of a new snapshot at `path`, its parents topmost first.
    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        match self {
            Driver::Overlay(overlay) => overlay.create(path, kind, parents),
            Driver::Native(native) => native.create(path, kind, parents),
            Driver::Btrfs(btrfs) => btrfs.create(path, kind, parents),
            Driver::Blockfile(blockfile) => blockfile.create(path, kind, parents),
            Driver::Erofs(erofs) => erofs.create(path, kind, parents),
        }
    }

    /// The mounts that show a snapshot.
    ///
    /// # Errors
    /// [`Error::State`] for a parent that is not kept as it is configured.
    pub(super) fn mounts(
        &self,
        id: u64,
        kind: Kind,
        parents: &[u64],
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        match self {
            Driver::Overlay(overlay) => Ok(overlay.mounts(id, kind, parents, labels)),
            Driver::Native(native) => Ok(native.mounts(id, kind, parents)),
            Driver::Btrfs(btrfs) => btrfs.mounts(id, kind),
            Driver::Blockfile(blockfile) => Ok(blockfile.mounts(id, kind, parents)),
            Driver::Erofs(erofs) => erofs.mounts(id, kind, parents, labels),
        }
    }

    /// The directory of a snapshot's own files in the snapshot's directory `path`.
    pub(super) fn content(&self, path: &Path) -> PathBuf {
        match self {
            Driver::Overlay(_) | Driver::Erofs(_) => path.join("fs"),
            _ => path.to_owned(),
        }
    }

    /// The files of the snapshot in the directory `path`, to have a layer extracted to.
    pub(super) fn show(&self, path: &Path) -> Result<Shown, Error> {
        match self {
            Driver::Blockfile(blockfile) => blockfile.show(path),
            _ => Ok(Shown::Here(self.content(path))),
        }
    }

    /// The same to give them other owners, those of views too.
    pub(super) fn show_own(&self, path: &Path, parents: &[u64]) -> Result<Shown, Error> {
        match self {
            Driver::Btrfs(btrfs) => btrfs.show_own(path),
            Driver::Blockfile(blockfile) => blockfile.show_own(path, parents),
            _ => self.show(path),
        }
    }

    /// What the files in the snapshot's directory `path` take.
    pub(super) fn usage(&self, path: &Path) -> Result<Usage, Error> {
        match self {
            Driver::Btrfs(btrfs) => btrfs.usage(path),
            Driver::Blockfile(blockfile) => blockfile.usage(path),
            Driver::Erofs(erofs) => erofs.usage(path),
            _ => usage::of(&self.content(path)),
        }
    }

    /// Makes the active snapshot `id` what a committed one is, durably; its record follows. Answers
    /// the number that the committed one has, `id` or a new one, and what it takes. Blocks.
    pub(super) fn commit(
        &self,
        id: u64,
        new_id: impl FnOnce() -> u64,
    ) -> Result<(u64, Usage), Error> {
        let path = self.directory(id);
        match self {
            Driver::Btrfs(btrfs) => {
                let new = new_id();
                return Ok((new, btrfs.commit(id, new)?));
            }
            Driver::Erofs(erofs) => return Ok((id, erofs.seal(&path)?)),
            Driver::Blockfile(blockfile) => blockfile.flush(&path)?,
            _ => durable::file_system(&path)?,
        }
        Ok((id, self.usage(&path)?))
    }

    /// What comes after [`Driver::commit`] has made `committed` of `id`, recorded or not: what is
    /// done only then, or taken back. Answers what is to be deleted.
    pub(super) fn end_commit(
        &self,
        id: u64,
        committed: u64,
        is_recorded: bool,
    ) -> Result<Vec<PathBuf>, Error> {
        let path = self.directory(id);
        match (self, is_recorded) {
            (Driver::Erofs(erofs), true) => erofs.settle(&path),
            (Driver::Erofs(erofs), false) => erofs.unseal(&path).map(|()| Vec::new()),
            _ if committed == id => Ok(Vec::new()),
            (_, true) => Ok(vec![path]),
            (_, false) => Ok(vec![self.directory(committed)]),
        }
    }

    /// Ends what a crash has cut off of a commit in a snapshot's directory.
    pub(super) fn recover(&self, path: &Path, kind: Kind) -> Result<(), Error> {
        match self {
            Driver::Erofs(erofs) => erofs.recover(path, kind),
            _ => Ok(()),
        }
    }

    /// Makes what was a layer's staging directory a committed snapshot's, at `path`.
    pub(super) fn seal(&self, path: &Path) -> Result<(), Error> {
        match self {
            Driver::Btrfs(_) => btrfs::subvolume::seal(path),
            _ => Ok(()),
        }
    }

    /// Takes `directory` away, at once: it is gone, or in the trash at `target`. Answers whether
    /// there is something there to be deleted.
    pub(super) fn throw_away(&self, directory: &Path, target: &Path) -> std::io::Result<bool> {
        match self {
            Driver::Btrfs(_) => btrfs::throw_away(directory, target),
            _ => fs_err::rename(directory, target).map(|()| true),
        }
    }

    /// How what is in the trash is deleted, with all in it.
    pub(super) fn deletion(&self) -> Deletion {
        match self {
            Driver::Btrfs(_) => btrfs::delete,
            _ => delete_tree,
        }
    }

    /// The snapshotter of images, if it is that.
    pub(super) fn erofs(&self) -> Option<&Erofs> {
        if let Driver::Erofs(erofs) = self { Some(erofs) } else { None }
    }

    /// How deletions are kept in a layer.
    pub(super) fn whiteouts(&self) -> Whiteouts {
        match self {
            Driver::Overlay(overlay) => Whiteouts::Overlay { userxattr: overlay.userxattr },
            Driver::Erofs(_) => Whiteouts::Overlay { userxattr: false },
            _ => Whiteouts::Merged,
        }
    }

    /// What clients may rely on, as containerd calls it.
    pub(super) fn capabilities(&self) -> Vec<&'static str> {
        let (only, rebase) = match self {
            Driver::Overlay(overlay) => (!overlay.settings.slow_chown, !overlay.userxattr),
            Driver::Erofs(_) => (true, true),
            _ => return Vec::new(),
        };
        let capabilities = [
            ("remap-ids", self.maps()),
            ("only-remap-ids", only),
            // A snapshot may be put on its parent when it is committed.
            ("rebase", rebase),
        ];
        capabilities.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    /// Whether owners are shown as others when a snapshot is mounted.
    pub(super) fn maps(&self) -> bool {
        match self {
            Driver::Overlay(overlay) => overlay.maps,
            Driver::Erofs(erofs) => erofs.maps,
            _ => false,
        }
    }

    /// Whether a snapshot has all files of its parents.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Driver::Native(_) | Driver::Btrfs(_) | Driver::Blockfile(_))
    }

    /// Whether every snapshot that is asked for its own files has a copy of its parent's.
    pub(super) fn is_copied(&self) -> bool {
        matches!(self, Driver::Btrfs(_) | Driver::Blockfile(_))
    }

    /// Whether layers can be extracted before those below them.
    pub(super) fn is_parallel(&self) -> bool {
        matches!(self, Driver::Overlay(_) | Driver::Erofs(_))
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
            let (drivers, _) = Driver::open_all(disk.path(), &Settings::default())?;
            // Of erofs there are none.
            Ok(drivers.iter().map(Driver::name).filter(|name| *name != EROFS).collect())
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
