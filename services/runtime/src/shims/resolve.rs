//! From a runtime's name to a shim's program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Finds the program of `runtime`: a path as it is; else `containerd-shim-NAME-VERSION` of the
/// name's last two parts, in `folder` first and then in the folders of `path`, which is PATH.
/// containerd looks the other way round; the shims of a node that also has containerd must not
/// shadow ours.
pub(super) fn resolve(runtime: &str, folder: Option<&Path>, path: &OsStr) -> Result<PathBuf> {
    if runtime.is_empty() {
        return Err(Error::NoRuntime("no runtime name".into()));
    }
    if runtime.starts_with('/') {
        let path = PathBuf::from(runtime);
        return match path.try_exists() {
            Ok(true) => Ok(path),
            _ => Err(Error::NoRuntime(format!(
                "invalid custom binary path: stat {runtime}: no such file or directory"
            ))),
        };
    }
    let name = program_name(runtime).ok_or_else(|| {
        Error::NoRuntime(format!(
            "invalid runtime name {runtime}, correct runtime name should be either format like `io.containerd.runc.v2` or a full path to the binary"
        ))
    })?;
    let folders = folder.map(Path::to_owned).into_iter().chain(std::env::split_paths(path));
    let mut candidates = folders.map(|folder| folder.join(&name));
    candidates.find(|candidate| candidate.is_file()).ok_or_else(|| {
        Error::NoRuntime(format!(
            "runtime {runtime:?} binary not installed {name:?}: file does not exist"
        ))
    })
}

fn program_name(runtime: &str) -> Option<String> {
    if runtime.contains('/') {
        return None;
    }
    let parts: Vec<&str> = runtime.split('.').collect();
    match parts.as_slice() {
        [first, .., name, version] if !first.is_empty() => {
            Some(format!("containerd-shim-{name}-{version}"))
        }
        [name, version] if !name.is_empty() => Some(format!("containerd-shim-{name}-{version}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_programs_as_in_containerd() {
        let name = |runtime| program_name(runtime);
        assert_eq!(name("io.containerd.runc.v2").as_deref(), Some("containerd-shim-runc-v2"));
        assert_eq!(name("runc.v2").as_deref(), Some("containerd-shim-runc-v2"));
        assert_eq!(name("runc"), None);
        assert_eq!(name(".runc"), None);
        assert_eq!(name("./io.containerd.runc.v2"), None);
    }

    #[test]
    fn the_own_folder_comes_before_path() {
        let [own, first, second] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let program = |folder: &tempfile::TempDir| folder.path().join("containerd-shim-runc-v2");
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        let find = |folder| resolve("io.containerd.runc.v2", folder, &path);
        let missing = find(Some(own.path())).unwrap_err().to_string();
        assert!(missing.contains("\"containerd-shim-runc-v2\""), "{missing}");
        assert!(missing.contains("not installed"), "{missing}");
        for folder in [&second, &first, &own] {
            std::fs::write(program(folder), "").unwrap();
            assert_eq!(find(Some(own.path())).unwrap(), program(folder));
        }
        assert_eq!(find(None).unwrap(), program(&first));
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("my-shim");
        let find = || resolve(program.to_str().unwrap(), None, OsStr::new(""));
        assert!(find().unwrap_err().to_string().contains("no such file"));
        std::fs::write(&program, "").unwrap();
        assert_eq!(find().unwrap(), program);
    }
}
