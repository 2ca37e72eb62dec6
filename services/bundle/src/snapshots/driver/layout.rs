//! The directories below a snapshotter's root.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_store::failpoint;

use crate::Error;

/// The directories that a driver has below its root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(super) root: PathBuf,
}

impl Layout {
    pub(super) fn open(root: PathBuf) -> Result<Self, Error> {
        for part in ["snapshots", "staging", "trash"] {
            let path = root.join(part);
            fs_err::create_dir_all(&path).map_err(|source| Error::File {
                step: "make directory",
                path,
                source,
            })?;
        }
        failpoint::file("snapshotter's folders", "made");
        Ok(Self { root })
    }

    pub(super) fn path(&self, part: &str, id: u64) -> PathBuf {
        self.root.join(part).join(id.to_string())
    }

    /// Whether there are snapshots.
    pub(super) fn is_used(&self) -> Result<bool, Error> {
        let path = self.root.join("snapshots");
        let failed = |source| Error::File { step: "list directory", path: path.clone(), source };
        Ok(std::fs::read_dir(&path).map_err(failed)?.next().is_some())
    }
}

/// Makes one directory of this mode.
pub(in crate::snapshots) fn make(path: &Path, mode: u32) -> Result<(), Error> {
    std::fs::DirBuilder::new().mode(mode).create(path).map_err(|source| Error::File {
        step: "make directory",
        path: path.to_owned(),
        source,
    })
}

/// Makes the root of a snapshotter, which may be anywhere, for nobody else.
pub(super) fn make_private(root: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o700);
    fs_err::create_dir_all(root)
        .and_then(|()| fs_err::set_permissions(root, mode))
        .map_err(|source| Error::File { step: "make directory", path: root.to_owned(), source })
}
