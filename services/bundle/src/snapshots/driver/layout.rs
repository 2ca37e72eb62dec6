//! The directories below a snapshotter's root.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::overlay::is_supported;
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

/// Why overlayfs does not work there, if it does not. What has snapshots had it before: a disk that
/// is full by now, with no room to try it, is not to hide them.
pub(super) fn refuses_overlays(layout: &Layout) -> Result<Option<Error>, Error> {
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
