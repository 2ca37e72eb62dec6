//! Mounts that last as long as a value.

use std::path::{Path, PathBuf};

use crate::{Error, Mount, mount_all, unmount_all};

/// Mounts at a directory of their own, undone and removed on drop.
#[derive(Debug)]
pub struct TempMount {
    path: PathBuf,
}

impl TempMount {
    /// Makes `parent/name` (0700) and mounts on it.
    ///
    /// # Errors
    /// [`Error::Directory`], and what [`mount_all`] answers.
    pub fn new(mounts: &[Mount], parent: &Path, name: &str) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        let path = parent.join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| Error::Directory { path: path.clone(), source })?;
        let mounted = Self { path };
        mount_all(mounts, &mounted.path)?;
        Ok(mounted)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempMount {
    fn drop(&mut self) {
        // Only an empty directory is removed: if the mount stays, so does what it shows.
        if unmount_all(&self.path).is_ok() {
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}
