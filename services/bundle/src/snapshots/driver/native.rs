//! native: a snapshot is a whole copy of its parent. Works on any file system.

use std::path::{Path, PathBuf};

use berth_mount::Mount;
use berth_store::failpoint;

use super::{Kind, Layout, make};
use crate::Error;
use crate::snapshots::copy::copy_tree;

/// The snapshotter's name, as containerd has it.
pub const NATIVE: &str = "native";

/// Trees below `layout`.
pub(crate) struct Native {
    pub(super) layout: Layout,
}

impl Native {
    fn tree(&self, id: u64) -> PathBuf {
        self.layout.path("snapshots", id)
    }

    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        make(path, 0o755)?;
        failpoint::file("native", "begun");
        match parents {
            [parent, ..] if kind == Kind::Active => copy_tree(&self.tree(*parent), path),
            _ => Ok(()),
        }
    }

    pub(super) fn mounts(&self, id: u64, kind: Kind, parents: &[u64]) -> Vec<Mount> {
        let (id, mode) = match (kind, parents) {
            (Kind::Active, _) => (id, "rw"),
            (_, [parent, ..]) => (*parent, "ro"),
            (_, []) => (id, "ro"),
        };
        vec![Mount {
            kind: "bind".to_owned(),
            source: self.tree(id).display().to_string(),
            target: String::new(),
            options: vec!["rbind".to_owned(), mode.to_owned()],
        }]
    }
}
