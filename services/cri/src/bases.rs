//! What the specifications of containers begin with, by their handler: files that are read once, at the start.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use berth_config::{Cri, Handler};
use berth_runtime_spec::Spec;
use rustix::fs::OFlags;

/// The most of one, in bytes.
const MOST: u64 = 4 << 20;

/// What was read. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Bases(Arc<HashMap<PathBuf, Spec>>);

impl Bases {
    /// Reads those of all handlers. Blocks.
    ///
    /// # Errors
    /// Names the handler and the file which is none.
    pub fn read(cri: &Cri) -> anyhow::Result<Self> {
        let mut all = HashMap::new();
        for (name, Handler { base_runtime_spec: path, .. }) in &cri.runtimes {
            if path.as_os_str().is_empty() || all.contains_key(path) {
                continue;
            }
            let doing =
                || format!("read base_runtime_spec of [cri.runtimes.{name}], {}", path.display());
            let text = read(path).with_context(doing)?;
            let spec: Spec = serde_json::from_slice(&text).with_context(doing)?;
            all.insert(path.clone(), spec);
        }
        Ok(Self(Arc::new(all)))
    }

    /// That of a handler; none: the usual one.
    #[must_use]
    pub fn of(&self, handler: &Handler) -> Option<Spec> {
        self.0.get(&handler.base_runtime_spec).cloned()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe that somebody has put there keeps nobody.
    let nonblock = OFlags::NONBLOCK.bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::other(format!("exceeds {MOST} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cri(path: &Path) -> Cri {
        let mut cri = Cri::default();
        cri.runtimes.get_mut("runc").unwrap().base_runtime_spec = path.to_owned();
        cri
    }

    #[test]
    fn a_file_that_is_none_is_told_with_its_handler() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.json");
        let cri = cri(&path);
        let failed = || format!("{:#}", Bases::read(&cri).unwrap_err());
        assert!(failed().starts_with("read base_runtime_spec of [cri.runtimes.runc], "));
        fs_err::write(&path, "{").unwrap();
        assert!(failed().contains("EOF while parsing"), "{}", failed());
        fs_err::File::create(&path).unwrap().set_len(MOST + 1).unwrap();
        assert!(failed().ends_with("exceeds 4194304 bytes"), "{}", failed());
        fs_err::remove_file(&path).unwrap();
        fs_err::create_dir(&path).unwrap();
        assert!(failed().ends_with("not a regular file"), "{}", failed());
    }

    #[test]
    fn a_handler_without_one_has_the_usual() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.json");
        fs_err::write(&path, r#"{"ociVersion":"1.0.2","hostname":"h"}"#).unwrap();
        let cri = cri(&path);
        let bases = Bases::read(&cri).unwrap();
        let base = bases.of(&cri.runtimes["runc"]).unwrap();
        assert_eq!(base.hostname().as_deref(), Some("h"));
        assert!(bases.of(&Handler::default()).is_none());
    }
}
