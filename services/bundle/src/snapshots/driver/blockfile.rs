//! blockfile: a snapshot is a file with a file system in it, copied from its parent's. For virtual
//! machines, which are given the file as a disk; here it is mounted from a loop device.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_mount::{LoopDevice, Mount, TempMount};

use super::place::Place;
use super::shown::Shown;
use super::{Kind, Layout, Usage, make};
use crate::Error;
use crate::durable;
use crate::snapshots::copy::copy_file;

/// The snapshotter's name, as containerd has it.
pub const BLOCKFILE: &str = "blockfile";

/// The file in a snapshot's directory.
const BLOCK: &str = "block";

/// The empty file system below the root that snapshots without a parent are copies of.
const SCRATCH: &str = "scratch";

/// What is configured; keys are containerd's.
#[derive(Clone, Debug, Default)]
pub struct BlockfileSettings {
    /// Where the files are; below the service's root without it.
    pub root_path: Option<PathBuf>,
    /// The file with an empty file system that is copied to be the scratch.
    pub scratch_file: Option<PathBuf>,
    /// The file system in it; empty for `ext4`.
    pub fs_type: String,
    /// Options of each mount besides `loop`.
    pub mount_options: Vec<String>,
    /// The scratch is copied anew by each start.
    pub recreate_scratch: bool,
}

/// Files below `layout`.
pub(crate) struct Blockfile {
    pub(super) layout: Layout,
    fs_type: String,
    options: Vec<String>,
    /// Where files are mounted for a while.
    temporary: PathBuf,
}

impl Blockfile {
    /// # Errors
    /// [`Error::Skipped`] without a scratch; [`Error::File`] for one that cannot be copied.
    pub(super) fn open(
        place: Place,
        settings: &BlockfileSettings,
        temporary: &Path,
    ) -> Result<Self, Error> {
        let root = &place.path;
        let scratch = root.join(SCRATCH);
        let wanted = settings.recreate_scratch || !scratch.exists();
        if wanted && settings.scratch_file.is_none() {
            return Err(Error::Skipped("no scratch file generator".to_owned()));
        }
        place.take()?;
        super::make_private(root)?;
        if let Some(from) = settings.scratch_file.as_ref().filter(|_| wanted) {
            renew(from, &scratch)?;
        }
        let layout = Layout::open(place.path)?;
        let fs_type = match &*settings.fs_type {
            "" => "ext4".to_owned(),
            kind => kind.to_owned(),
        };
        let mut options = settings.mount_options.clone();
        if !options.iter().any(|option| option == "loop") {
            options.push("loop".to_owned());
        }
        Ok(Self { layout, fs_type, options, temporary: temporary.to_owned() })
    }

    fn block(&self, id: u64) -> PathBuf {
        self.layout.path("snapshots", id).join(BLOCK)
    }

    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        make(path, 0o700)?;
        match parents {
            [] => copy_file(&self.layout.root.join(SCRATCH), &path.join(BLOCK)),
            [parent, ..] if kind == Kind::Active => {
                copy_file(&self.block(*parent), &path.join(BLOCK))
            }
            // A view shows its parent's.
            _ => Ok(()),
        }
    }

    /// containerd's mounts, option for option.
    pub(super) fn mounts(&self, id: u64, kind: Kind, parents: &[u64]) -> Vec<Mount> {
        let own = self.block(id);
        let source = match parents {
            [parent, ..] if kind != Kind::Active && !own.exists() => self.block(*parent),
            _ => own,
        };
        let mode = if kind == Kind::View { "ro" } else { "rw" };
        vec![self.mount(&source, mode)]
    }

    fn mount(&self, source: &Path, mode: &str) -> Mount {
        let mut options = self.options.clone();
        options.push(mode.to_owned());
        let (kind, source) = (self.fs_type.clone(), source.display().to_string());
        Mount { kind, source, target: String::new(), options }
    }

    /// Mounts the file in the snapshot's directory `path`.
    pub(super) fn show(&self, path: &Path) -> Result<Shown, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{BLOCKFILE}-{process}-{next}");
        let file = path.join(BLOCK);
        let mounted = TempMount::new(&[self.mount(&file, "rw")], &self.temporary, &name)?;
        Ok(Shown::Mounted(mounted, file))
    }

    /// The same to give its files other owners: a view needs a copy for that.
    pub(super) fn show_own(&self, path: &Path, parents: &[u64]) -> Result<Shown, Error> {
        let own = path.join(BLOCK);
        match parents {
            [parent, ..] if !own.exists() => copy_file(&self.block(*parent), &own)?,
            _ => {}
        }
        self.show(path)
    }

    /// Makes the file in `path` durable with what those that have it mounted have written. What
    /// nobody here has mounted is not mounted for that: a virtual machine may have it, through a
    /// device too.
    pub(super) fn flush(&self, path: &Path) -> Result<(), Error> {
        let file = path.join(BLOCK);
        match LoopDevice::of_file(&file, true)? {
            Some(device) if device.is_mounted()? => {
                let shown = self.show(path)?;
                durable::file_system(shown.path())?;
                shown.close()?;
            }
            Some(device) => device.sync()?,
            None => {}
        }
        durable::file(&file)?;
        durable::directory(path)?;
        durable::directory(path.parent().unwrap_or(path))
    }

    /// What the file takes, its parent's blocks that it shares too: file systems that cannot share
    /// them have copies.
    pub(super) fn usage(&self, path: &Path) -> Result<Usage, Error> {
        let file = path.join(BLOCK);
        let found = fs_err::metadata(&file);
        let found = found.map_err(|source| Error::File {
            step: "count the usage of",
            path: file,
            source,
        })?;
        Ok(Usage { inodes: 1, size: found.blocks() * 512 })
    }
}

/// Puts a copy of `from` in the place of the scratch, whole or not at all.
fn renew(from: &Path, scratch: &Path) -> Result<(), Error> {
    let new = scratch.with_extension("new");
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { step, path, source }
    };
    match fs_err::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("remove", &new)(error));
        }
        _ => {}
    }
    copy_file(from, &new)?;
    fs_err::rename(&new, scratch).map_err(failed("rename the copy to", scratch))?;
    durable::directory(scratch.parent().unwrap_or(scratch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, settings: &BlockfileSettings) -> Result<Blockfile, Error> {
        Blockfile::open(Place::of("here", None, root), settings, root)
    }

    #[test]
    fn without_a_scratch_it_is_skipped_and_one_that_was_copied_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let none = BlockfileSettings::default();
        let why = open(dir.path(), &none).map(drop).unwrap_err();
        assert_eq!(why.to_string(), "no scratch file generator: skip plugin");
        assert!(!dir.path().join("here").exists());
        let from = dir.path().join("from");
        let with = BlockfileSettings { scratch_file: Some(from.clone()), ..none.clone() };
        let missing = open(dir.path(), &with).map(drop).unwrap_err();
        assert!(matches!(missing, Error::File { .. }), "{missing}");
        let read = || fs_err::read_to_string(dir.path().join("here/scratch")).unwrap();
        fs_err::write(&from, "one").unwrap();
        open(dir.path(), &with).unwrap();
        fs_err::write(&from, "two").unwrap();
        open(dir.path(), &with).unwrap();
        open(dir.path(), &none).unwrap();
        assert_eq!(read(), "one");
        let again = BlockfileSettings { recreate_scratch: true, ..with };
        open(dir.path(), &again).unwrap();
        assert_eq!(read(), "two");
        fs_err::remove_file(&from).unwrap();
        assert!(open(dir.path(), &again).is_err());
        assert_eq!(read(), "two", "what was there stays");
    }

    #[test]
    fn mounts_are_containerds_option_for_option() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs_err::write(&from, vec![0; 9000]).unwrap();
        let settings = |fs_type: &str, options: &[&str]| BlockfileSettings {
            scratch_file: Some(from.clone()),
            fs_type: fs_type.to_owned(),
            mount_options: options.iter().map(|o| (*o).to_owned()).collect(),
            ..BlockfileSettings::default()
        };
        let driver = open(dir.path(), &settings("", &[])).unwrap();
        driver.create(&driver.layout.path("snapshots", 1), Kind::Active, &[]).unwrap();
        driver.create(&driver.layout.path("snapshots", 2), Kind::Active, &[1]).unwrap();
        driver.create(&driver.layout.path("snapshots", 3), Kind::View, &[1]).unwrap();
        assert_eq!(fs_err::read(driver.block(2)).unwrap(), vec![0; 9000]);
        let of = |driver: &Blockfile, id, kind, parents: &[u64]| {
            let [mount] = &driver.mounts(id, kind, parents)[..] else { panic!("one mount") };
            let source = Path::new(&mount.source).strip_prefix(&driver.layout.root).unwrap();
            format!("{} {} {}", mount.kind, source.display(), mount.options.join(","))
        };
        assert_eq!(of(&driver, 1, Kind::Active, &[]), "ext4 snapshots/1/block loop,rw");
        assert_eq!(of(&driver, 2, Kind::Active, &[1]), "ext4 snapshots/2/block loop,rw");
        assert_eq!(of(&driver, 3, Kind::View, &[1]), "ext4 snapshots/1/block loop,ro");
        let driver = open(dir.path(), &settings("xfs", &["nouuid", "loop", "sync"])).unwrap();
        assert_eq!(of(&driver, 1, Kind::View, &[]), "xfs snapshots/1/block nouuid,loop,sync,ro");
    }
}
