//! File systems of a test's own, in files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{program, run};

/// Less is no btrfs, as mkfs.btrfs has it. The file is sparse.
const BTRFS_SIZE: u64 = 256 << 20;

/// A file system that is mounted from a file, until this is dropped.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Makes a btrfs in the new file `image` and mounts it on the directory `at`, which is made.
    ///
    /// # Errors
    /// When a program is missing or fails.
    pub fn btrfs(image: &Path, at: &Path) -> Result<Self> {
        sparse(image, BTRFS_SIZE)?;
        run(&format!("mkfs.btrfs -q {}", image.display())).context("make a btrfs")?;
        fs_err::create_dir_all(at)?;
        run(&format!("mount -o loop {} {}", image.display(), at.display()))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Leaves it mounted, to be unmounted by somebody else.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(&format!("umount --lazy {}", self.at.display()));
    }
}

/// Makes an empty ext4 of so many bytes in the new file `path`, without so much as `lost+found`.
///
/// # Errors
/// When a program is missing or fails.
pub fn scratch(path: &Path, size: u64) -> Result<()> {
    sparse(path, size)?;
    run(&format!("mkfs.ext4 -q {}", path.display())).context("make an ext4")?;
    let remove = program("debugfs").args(["-w", "-R", "rmdir lost+found"]).args([path]);
    remove.output()?.ok().map(drop)
}

fn sparse(path: &Path, size: u64) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    Ok(fs_err::File::create_new(path)?.set_len(size)?)
}
