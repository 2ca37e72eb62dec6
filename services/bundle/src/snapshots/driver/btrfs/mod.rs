//! btrfs: a snapshot is a subvolume, a snapshot of its parent's in the file system's own sense.
//!
//! A committed one is a read-only snapshot of the active one, which goes then: what still has the
//! active one mounted changes nothing of what was committed. The kernel has committed a snapshot
//! with all that was written before when the call returns.

mod search;
pub(super) mod subvolume;

use std::path::{Path, PathBuf};

use berth_mount::{Mount, mountinfo};
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::place::Place;
use super::shown::Shown;
use super::trees::delete_tree;
use super::{Kind, Layout, Usage};
use crate::Error;
use crate::durable;

/// The snapshotter's name, as containerd has it.
pub const BTRFS: &str = "btrfs";

/// What is configured; keys are containerd's.
#[derive(Clone, Debug, Default)]
pub struct BtrfsSettings {
    /// Where the subvolumes are; below the service's root without it.
    pub root_path: Option<PathBuf>,
}

/// Subvolumes below `layout`.
pub(crate) struct Btrfs {
    pub(super) layout: Layout,
    /// What their file system is mounted from.
    device: String,
}

fn failed(step: &'static str, path: &Path) -> impl Fn(Errno) -> Error {
    move |errno| Error::File { step, path: path.to_owned(), source: errno.into() }
}

impl Btrfs {
    /// # Errors
    /// [`Error::Skipped`] unless `root` is on a btrfs.
    pub(super) fn open(place: Place) -> Result<Self, Error> {
        let root = &place.path;
        let (kind, device) = file_system(root)?;
        if kind != BTRFS {
            return Err(Error::Skipped(format!(
                "path {} ({kind}) must be a btrfs filesystem to be used with the btrfs snapshotter",
                root.display()
            )));
        }
        place.take()?;
        super::make_private(root)?;
        Ok(Self { layout: Layout::open(place.path)?, device })
    }

    fn subvolume(&self, id: u64) -> PathBuf {
        self.layout.path("snapshots", id)
    }

    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        match parents {
            [] => subvolume::create(path).map_err(failed("make subvolume", path)),
            [parent, ..] => subvolume::snapshot(&self.subvolume(*parent), path, kind == Kind::View)
                .map_err(failed("make a snapshot of the parent's subvolume at", path)),
        }
    }

    /// containerd's mounts, option for option: the file system's device, and the subvolume by its
    /// number.
    pub(super) fn mounts(&self, id: u64, kind: Kind) -> Result<Vec<Mount>, Error> {
        let path = self.subvolume(id);
        let found = subvolume::info(&path).map_err(failed("look at subvolume", &path))?;
        let mut options = vec![format!("subvolid={}", found.id)];
        if kind != Kind::Active {
            options.push("ro".to_owned());
        }
        let (kind, source) = (BTRFS.to_owned(), self.device.clone());
        Ok(vec![Mount { kind, source, target: String::new(), options }])
    }

    /// The subvolume at `path`, to be written even if it is a view's.
    pub(super) fn show_own(&self, path: &Path) -> Result<Shown, Error> {
        let was = subvolume::set_read_only(path, false);
        match was.map_err(failed("make writable", path))? {
            true => Ok(Shown::Thawed(path.to_owned())),
            false => Ok(Shown::Here(path.to_owned())),
        }
    }

    /// Makes the subvolume `id` a read-only one with the number `new`, durably. Answers what of it
    /// its parent does not have.
    pub(super) fn commit(&self, id: u64, new: u64) -> Result<Usage, Error> {
        let (from, to) = (self.subvolume(id), self.subvolume(new));
        let usage = self.usage(&from)?;
        subvolume::snapshot(&from, &to, true).map_err(failed("make a snapshot at", &to))?;
        Ok(usage)
    }

    /// What a subvolume has that the one that it is a snapshot of does not have: as the quota
    /// groups count it where they do, else by the extents that came later.
    pub(super) fn usage(&self, path: &Path) -> Result<Usage, Error> {
        // What is not written yet has no place in the trees.
        durable::file_system(path)?;
        search::usage(path).map_err(failed("count the usage of", path))
    }
}

/// Takes what is at `from` away: a subvolume at once, anything else is moved to `trash`. Answers
/// whether there is something in the trash now.
pub(super) fn throw_away(from: &Path, trash: &Path) -> std::io::Result<bool> {
    match subvolume::destroy(from) {
        Ok(()) => return Ok(false),
        Err(Errno::NOENT) => return Err(Errno::NOENT.into()),
        // A container has made subvolumes in it; the directory of one that is read-only stays.
        Err(Errno::NOTEMPTY) => {
            subvolume::set_read_only(from, false)?;
        }
        Err(_) => {}
    }
    fs_err::rename(from, trash).map(|()| true)
}

/// Deletes the subvolume at `path` with all in it, or a tree of directories.
pub(super) fn delete(path: &Path) -> Result<(), Error> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_ino == subvolume::ROOT => {}
        _ => return delete_tree(path),
    }
    let deleted = match subvolume::destroy(path) {
        Err(Errno::NOTEMPTY) => {
            search::nested(path).and_then(|nested| subvolume::destroy_all(path, &nested))
        }
        other => other,
    };
    match deleted {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed("delete subvolume", path)(errno)),
    }
}

/// The type and source of the file system that `path` is on, or will be on.
fn file_system(path: &Path) -> Result<(String, String), Error> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let there = fs_err::canonicalize(there).map_err(|source| Error::File {
        step: "find",
        path: there.to_owned(),
        source,
    })?;
    let on = mountinfo::read()?.into_iter().filter(|mount| there.starts_with(&mount.mount_point));
    // Of several on one directory the last one is seen.
    let on = on.max_by_key(|mount| mount.mount_point.components().count());
    Ok(on.map(|mount| (mount.kind, mount.source)).unwrap_or_default())
}
