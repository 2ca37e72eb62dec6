//! A task's or a sandbox's folder: what the shim and runc find there, and what a later run of this
//! service needs.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use berth_ids::Namespace;
use berth_store::failpoint;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::shims::Bootstrap;

const BOOTSTRAP: &str = "bootstrap.json";
/// Where a shim's program writes its address before it prints it.
const ADDRESS: &str = "address";
const PROGRAM: &str = "shim-binary-path";
const SANDBOX: &str = "sandbox";

/// A task's folder, or a sandbox's.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    path: PathBuf,
}

impl Bundle {
    /// The folder of task or sandbox `id`, which need not be there.
    pub(crate) fn at(folder: &Path, namespace: &str, id: &str) -> Self {
        Self { path: folder.join(namespace).join(id) }
    }

    /// The task's folder that is there.
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes it, in place of what a task that was never made left behind. A sandbox may be without a
    /// spec.
    pub(crate) fn create(&self, spec: Option<&[u8]>) -> Result<()> {
        self.remove()?;
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        self.did("make", std::fs::DirBuilder::new().recursive(true).mode(0o711).create(parent))?;
        self.did("make", std::fs::DirBuilder::new().mode(0o700).create(&self.path))?;
        failpoint::file("task's folder", "made");
        for (name, mode) in [("rootfs", 0o711), ("work", 0o711)] {
            let made = std::fs::DirBuilder::new().mode(mode).create(self.path.join(name));
            self.did("make folders in", made)?;
        }
        let Some(spec) = spec else { return Ok(()) };
        if let Some(group) = Mapped::group(spec) {
            self.did("give to the container's group", self.open_to(group))?;
        }
        self.did("write the spec in", fs_err::write(self.path.join("config.json"), spec))?;
        failpoint::file("task's spec", "written");
        Ok(())
    }

    /// Lets a group pass through, and see nothing.
    fn open_to(&self, group: u32) -> io::Result<()> {
        std::os::unix::fs::chown(&self.path, None, Some(group))?;
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o710))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the root file system is mounted.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// The shim's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Keeps which program is the shim; before it is started.
    pub(crate) fn write_program(&self, program: &Path) -> Result<()> {
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(program.as_os_str());
        self.write(PROGRAM, bytes)?;
        failpoint::file("shim's program", "kept");
        Ok(())
    }

    /// Keeps whose shim it is that serves the task, as containerd does.
    pub(crate) fn write_sandbox(&self, sandbox: &str) -> Result<()> {
        self.write(SANDBOX, sandbox.as_bytes())
    }

    /// Whether another's shim serves the task.
    pub(crate) fn joined(&self) -> bool {
        self.read(SANDBOX).is_some()
    }

    /// Keeps where the shim answers.
    pub(crate) fn write_bootstrap(&self, bootstrap: &Bootstrap) -> Result<()> {
        let text = serde_json::to_vec(bootstrap).map_err(io::Error::other);
        self.write(BOOTSTRAP, &self.did("write", text)?)?;
        failpoint::file("shim's address", "kept");
        Ok(())
    }

    /// The shim's program, if it was kept.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        fs_err::read_to_string(self.path.join(PROGRAM)).ok().map(PathBuf::from)
    }

    /// Where the shim answers, if it was kept.
    pub(crate) fn bootstrap(&self) -> Option<Bootstrap> {
        let text = fs_err::read(self.path.join(BOOTSTRAP)).ok()?;
        Bootstrap::parse(&text).ok()
    }

    /// Where a shim answers whose address this service was killed before it kept it.
    pub(crate) fn announced(&self) -> Option<Bootstrap> {
        Bootstrap::parse(&fs_err::read(self.path.join(ADDRESS)).ok()?).ok()
    }

    /// Unmounts the root file system and removes the folder. It is renamed first: half a folder
    /// is never taken for a task.
    pub(crate) fn remove(&self) -> Result<()> {
        let rootfs = self.rootfs();
        if rootfs.exists() {
            berth_mount::unmount_beneath(&rootfs)
                .map_err(Box::new)
                .map_err(|source| Error::Unmount { id: self.name().to_owned(), source })?;
        }
        let hidden = self.path.with_file_name(format!(".{}", self.name()));
        // Left by a removal that was cut off.
        self.did("remove", gone(std::fs::remove_dir_all(&hidden)))?;
        match std::fs::rename(&self.path, &hidden) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => self.did("rename", renamed)?,
        }
        failpoint::file("task's folder", "hidden");
        self.did("remove", gone(std::fs::remove_dir_all(&hidden)))?;
        failpoint::file("task's folder", "removed");
        Ok(())
    }

    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Reads a file that was written with [`Bundle::write`]; nothing if it was not.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs_err::read(self.path.join(name)).ok()
    }

    /// Writes a file whole or not at all.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, fresh) = (self.path.join(name), self.path.join(format!(".{name}")));
        self.did("write to", fs_err::write(&fresh, bytes))?;
        failpoint::file("task's file", "written");
        self.did("write to", std::fs::rename(&fresh, &path))
    }

    fn did<T>(&self, step: &'static str, done: io::Result<T>) -> Result<T> {
        done.map_err(|source| Error::Bundle { step, path: self.path.clone(), source })
    }
}

impl Bundle {
    /// The folders of all tasks or sandboxes that lie in `folder`. What removals that were cut off
    /// have left is removed.
    pub(crate) fn all(folder: &Path) -> Result<Vec<(Namespace, String)>> {
        let failed =
            |source| Error::Bundle { step: "list tasks in", path: folder.to_owned(), source };
        let mut found = Vec::new();
        for space in names(folder).map_err(failed)? {
            // Those that begin with a dot are none.
            let Ok(ns) = space.parse::<Namespace>() else { continue };
            let (half, ids): (Vec<_>, Vec<_>) = names(&folder.join(&space))
                .map_err(failed)?
                .into_iter()
                .partition(|id| id.starts_with('.'));
            half.iter().for_each(|id| remove_rest(&folder.join(&space).join(id)));
            found.extend(ids.into_iter().map(|id| (ns.clone(), id)));
        }
        Ok(found)
    }
}

/// Goes on with a removal that was cut off. What is hidden has no mounts any more.
fn remove_rest(hidden: &Path) {
    if let Err(error) = std::fs::remove_dir_all(hidden) {
        let error = berth_errors::chain(&error);
        tracing::warn!(folder = %hidden.display(), error, "remove rest of a task's folder");
    }
}

/// The folders in `folder`.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.file_type()?.is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// What of a spec says which users of the host a container's are.
#[derive(Deserialize)]
struct Mapped {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(default)]
    gid_mappings: Vec<Mapping>,
}

#[derive(Deserialize)]
struct Mapping {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
}

impl Mapped {
    /// The host's number of the container's group 0, when the container has a user namespace: its
    /// first process reaches its root file system as that group. containerd does the same.
    fn group(spec: &[u8]) -> Option<u32> {
        let spec: Mapped = serde_json::from_slice(spec).ok()?;
        let mappings = spec.linux?.gid_mappings;
        mappings.into_iter().find(|mapping| mapping.container == 0).map(|mapping| mapping.host)
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
