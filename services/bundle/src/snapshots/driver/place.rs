//! Where a snapshotter keeps its directories: below bundle's own folder, or in a folder that is
//! configured, which then belongs to this snapshotter of this node and to nobody else.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::{Error, durable};

/// Says whose snapshots are in a folder that is configured.
const OWNER: &str = "owner";
/// What containerd's own snapshotters keep their records in.
const FOREIGN: &str = "metadata.db";

/// A folder for a snapshotter's directories.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Who takes it, if it is configured.
    owner: Option<Vec<u8>>,
}

impl Place {
    /// That of `snapshotter`, of the node of which bundle's folder is `node`.
    pub(super) fn of(snapshotter: &str, configured: Option<&PathBuf>, node: &Path) -> Self {
        match configured {
            None => Self { path: node.join(snapshotter), owner: None },
            Some(path) => {
                let mut owner = node.as_os_str().to_owned().into_vec();
                owner.extend(format!("\n{snapshotter}\n").bytes());
                Self { path: path.clone(), owner: Some(owner) }
            }
        }
    }

    /// Takes it: what is there and has no record will be deleted, so that nobody else's snapshots
    /// may be there.
    ///
    /// # Errors
    /// [`Error::State`] for a folder of others, [`Error::File`].
    pub(super) fn take(&self) -> Result<(), Error> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let file = self.path.join(OWNER);
        let failed = |step| {
            let path = file.clone();
            move |source| Error::File { step, path, source }
        };
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.path).map_err(failed("make"))?;
        if self.path.join(FOREIGN).exists() {
            return Err(self.refused("it is of a snapshotter of containerd, name another folder"));
        }
        match fs_err::read(&file) {
            Ok(there) if there == *owner => Ok(()),
            Ok(_) => Err(self.refused(
                "its file `owner` names another node or snapshotter, name another folder",
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Whole or not at all: half a name would be that of another.
                let new = self.path.join("owner.new");
                fs_err::write(&new, owner).map_err(failed("write"))?;
                durable::file(&new)?;
                fs_err::rename(&new, &file).map_err(failed("name"))?;
                durable::directory(&self.path)
            }
            Err(error) => Err(failed("read")(error)),
        }
    }

    fn refused(&self, reason: &'static str) -> Error {
        Error::State { what: "root_path", name: self.path.display().to_string(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_snapshotter_of_one_node() {
        let dir = tempfile::tempdir().expect("a folder");
        let (node, folder) = (dir.path().join("node"), dir.path().join("folder"));
        let take = |snapshotter: &str, node: &Path| {
            Place::of(snapshotter, Some(&folder), node).take().map_err(|error| error.to_string())
        };
        take("btrfs", &node).expect("it is nobody's");
        take("btrfs", &node).expect("it is its own");
        for (snapshotter, node) in
            [("blockfile", node.clone()), ("btrfs", dir.path().join("other"))]
        {
            let refused = take(snapshotter, &node).expect_err("it is another's");
            assert!(refused.contains("names another node or snapshotter"), "{refused}");
        }
        std::fs::write(folder.join(FOREIGN), "").expect("write");
        let refused = take("btrfs", &node).expect_err("it is containerd's");
        assert!(refused.contains("snapshotter of containerd"), "{refused}");
        // Where nothing is configured nothing is taken.
        Place::of("btrfs", None, &node).take().expect("it is below the node's own");
        assert!(!node.exists());
    }
}
