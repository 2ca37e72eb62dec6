//! The workspace's binaries in a folder of their own, where something else starts one of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_testkit::{copy_program, write_program};
use tempfile::TempDir;

use crate::cluster::binaries;

/// A folder of binaries.
pub struct Binaries(TempDir);

impl Binaries {
    /// All of them, with what `script` makes of the path of `service` in its place. Paths of the folder are for
    /// what the script needs.
    pub fn with(service: &str, script: impl FnOnce(&Path, &Path) -> String) -> Result<Self> {
        let own = Self(tempfile::tempdir().context("make a folder for binaries")?);
        let binaries = binaries()?;
        for entry in fs_err::read_dir(&binaries)? {
            let (from, name) = {
                let entry = entry?;
                (entry.path(), entry.file_name())
            };
            let is_program =
                name.to_string_lossy().starts_with("berth") && from.extension().is_none();
            // berthd looks for services beside itself, wherever a link leads.
            if is_program && name != "berthd" && name != service {
                std::os::unix::fs::symlink(&from, own.path(&name.to_string_lossy()))?;
            }
        }
        copy_program(binaries.join("berthd"), own.path("berthd"))?;
        let script = script(own.0.path(), &binaries.join(service));
        write_program(&own.path(service), script)?;
        Ok(own)
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
