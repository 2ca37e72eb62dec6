//! From a written directory to an image, so that a crash at any step leaves either an active
//! snapshot as it was or a committed one that is whole.
//!
//! While a commit makes an image of a directory the snapshot has a mark. A start finds by it what
//! was cut off: of one that is active still the image goes, of one that is committed the directory.
//! An image without the mark was put there whole, and is the snapshot.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_mount::{Mount, TempMount};
use berth_store::failpoint;
use rustix::fs::{CWD, RenameFlags};

use super::{Erofs, UPPER, WORK, WRITABLE, mount, protect};
use crate::erofs::{BLOB, MARK, check, make};
use crate::layer::implied;
use crate::snapshots::driver::make as make_directory;
use crate::snapshots::{Kind, Usage, usage};
use crate::{Error, durable};

/// In a directory of which a commit makes an image.
const CONVERTING: &str = ".converting";

/// What takes the upper directory's place.
const NEXT_UPPER: &str = "fs.next";

fn failed(step: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::File { step, path: path.to_owned(), source }
}

fn is_there(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok()
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

impl Erofs {
    /// Whether an image was put into an active snapshot.
    pub(super) fn has_image(&self, id: u64) -> bool {
        let path = self.layout.path("snapshots", id);
        is_there(&path.join(BLOB)) && !is_there(&path.join(CONVERTING))
    }

    /// Makes the image that the active snapshot at `path` is to be, durably. Blocks.
    pub(in crate::snapshots) fn seal(&self, path: &Path) -> Result<Usage, Error> {
        let mark = path.join(CONVERTING);
        if !is_there(&path.join(BLOB)) || is_there(&mark) {
            fs_err::write(&mark, "").map_err(failed("make", &mark))?;
            self.remove_image(path)?;
            durable::directory(path)?;
            failpoint::file("erofs", "marked");
            self.convert(path)?;
        } else {
            // What came whole has to be what the kernel takes before it has a record.
            drop(self.show(&self.image_at(path))?);
        }
        self.guard(path)
    }

    /// Takes back [`Erofs::seal`]: the snapshot stays active.
    pub(in crate::snapshots) fn unseal(&self, path: &Path) -> Result<(), Error> {
        let mark = path.join(CONVERTING);
        if is_there(&mark) {
            self.remove_image(path)?;
            remove_file(&mark)?;
        }
        Ok(())
    }

    fn remove_image(&self, path: &Path) -> Result<(), Error> {
        let image = path.join(BLOB);
        protect::thaw(&image);
        remove_file(&image)
    }

    /// Makes an image of what was written.
    fn convert(&self, path: &Path) -> Result<(), Error> {
        let unfinished = path.join(format!("{BLOB}.next"));
        remove_file(&unfinished)?;
        // Whoever makes another ends in time, and nobody closes it.
        let _alone = tokio::runtime::Handle::current().block_on(self.making.acquire()).ok();
        let options = &self.settings.mkfs_options;
        let disk = path.join(WRITABLE);
        let upper = path.join(UPPER);
        if is_there(&disk) {
            let read_only = ["ro", "loop", "noload"].map(str::to_owned).to_vec();
            let shown = self.show(&mount("ext4", disk.display().to_string(), read_only))?;
            let written = shown.path().join("upper");
            let tree = if is_there(&written) { &written } else { &upper };
            make(&unfinished, tree, options)?;
        } else {
            make(&unfinished, &upper, options)?;
        }
        failpoint::file("erofs image", "made");
        let image = path.join(BLOB);
        fs_err::rename(&unfinished, &image).map_err(failed("name", &unfinished))?;
        durable::directory(path)?;
        failpoint::file("erofs image", "named");
        Ok(())
    }

    /// Has the kernel keep the image at `path` as it is, and tells what it takes.
    fn guard(&self, path: &Path) -> Result<Usage, Error> {
        let image = path.join(BLOB);
        let file = File::open(&image).map_err(failed("open", &image))?;
        check(&file, &image, &image.display().to_string())?;
        if self.settings.fsverity {
            protect::enable_verity(&file).map_err(failed("enable fs-verity on", &image))?;
        }
        let found = file.metadata().map_err(failed("look at", &image))?;
        Ok(Usage { inodes: 1, size: found.blocks() * 512 })
    }

    /// Turns the directory of a snapshot that has its image into a committed one's. Answers what
    /// is to be deleted. May be done again.
    pub(in crate::snapshots) fn settle(&self, path: &Path) -> Result<Vec<PathBuf>, Error> {
        let (upper, next) = (path.join(UPPER), path.join(NEXT_UPPER));
        if !is_there(&next) {
            make_directory(&next, 0o700)?;
        }
        self.adopt_root(path, &next)?;
        durable::directory(&next)?;
        failpoint::file("erofs root", "made");
        rustix::fs::renameat_with(CWD, &next, CWD, &upper, RenameFlags::EXCHANGE)
            .map_err(|errno| failed("exchange", &upper)(errno.into()))?;
        failpoint::file("erofs root", "exchanged");
        remove_file(&path.join(MARK))?;
        if self.settings.immutable {
            protect::freeze(&path.join(BLOB));
        }
        remove_file(&path.join(CONVERTING))?;
        durable::directory(path)?;
        failpoint::file("erofs", "settled");
        let left = [next, path.join(WORK), path.join(WRITABLE)];
        Ok(left.into_iter().filter(|path| is_there(path)).collect())
    }

    /// Gives `directory` the attributes of the root of the image at `path`. The kernel has taken
    /// the image then.
    fn adopt_root(&self, path: &Path, directory: &Path) -> Result<(), Error> {
        let shown = self.show(&self.image_at(path))?;
        let lowers = [shown.path().to_owned()];
        implied::adopt(directory, &[Vec::new()], &lowers)
            .map_err(|(_, errno)| failed("copy the image's attributes to", directory)(errno.into()))
    }

    fn image_at(&self, path: &Path) -> Mount {
        let options = vec!["ro".to_owned(), "loop".to_owned()];
        mount("erofs", path.join(BLOB).display().to_string(), options)
    }

    /// Shows something for a while.
    fn show(&self, mount: &Mount) -> Result<TempMount, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        Ok(TempMount::new(std::slice::from_ref(mount), &self.shown(), &name)?)
    }

    /// Makes the image of the staged layer at `path`, of which `implied` directories take after
    /// those of `parents`.
    pub(in crate::snapshots) fn seal_staged(
        &self,
        path: &Path,
        implied: &[Vec<u8>],
        parents: &[u64],
    ) -> Result<Usage, Error> {
        if !is_there(&path.join(BLOB)) {
            self.adopt_implied(path, implied, parents)?;
            self.convert(path)?;
        }
        self.guard(path)
    }

    fn adopt_implied(
        &self,
        path: &Path,
        implied: &[Vec<u8>],
        parents: &[u64],
    ) -> Result<(), Error> {
        let upper = path.join(UPPER);
        let adopted = if implied.iter().all(Vec::is_empty) {
            // The attributes of roots are beside their images.
            let lowers: Vec<_> = parents.iter().map(|id| self.at(*id, UPPER)).collect();
            implied::adopt(&upper, implied, &lowers)
        } else {
            let shown = parents.iter().map(|id| self.show(&self.image(*id)));
            let shown = shown.collect::<Result<Vec<_>, _>>()?;
            let lowers: Vec<_> = shown.iter().map(|shown| shown.path().to_owned()).collect();
            implied::adopt(&upper, implied, &lowers)
        };
        adopted.map_err(|(below, errno)| {
            let path = upper.join(String::from_utf8_lossy(&below).into_owned());
            failed("copy attributes from the layers below to", &path)(errno.into())
        })
    }

    /// What an active snapshot takes.
    pub(in crate::snapshots) fn usage(&self, path: &Path) -> Result<Usage, Error> {
        let mut sum = usage::of(&path.join(UPPER))?;
        for file in [BLOB, WRITABLE].map(|name| path.join(name)) {
            match fs_err::symlink_metadata(&file) {
                Ok(found) => {
                    sum.inodes += 1;
                    sum.size += found.blocks() * 512;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("count the usage of", &file)(error)),
            }
        }
        Ok(sum)
    }

    /// What a crash has cut off at `path`, the directory of a snapshot of this kind.
    pub(in crate::snapshots) fn recover(&self, path: &Path, kind: Kind) -> Result<(), Error> {
        if kind == Kind::Committed && is_there(&path.join(CONVERTING)) {
            for left in self.settle(path)? {
                let trash = self.layout.root.join("trash");
                let name = left.file_name().unwrap_or_default().to_string_lossy();
                let id = path.file_name().unwrap_or_default().to_string_lossy();
                let to = trash.join(format!("recovered-{id}-{name}"));
                fs_err::rename(&left, &to).map_err(failed("move to the trash", &left))?;
            }
            return Ok(());
        }
        if kind == Kind::Active {
            self.unseal(path)?;
            self.remove_unfinished(path)?;
        }
        Ok(())
    }

    /// Removes images that were not written to their end.
    fn remove_unfinished(&self, path: &Path) -> Result<(), Error> {
        let failed = failed("clear", path);
        for entry in fs_err::read_dir(path).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(&format!("{BLOB}."))) {
                remove_file(&entry.path())?;
            }
        }
        Ok(())
    }
}
