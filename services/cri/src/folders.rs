//! Where files of pods and containers lie: below the service's own two folders, as containerd has them below its.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_config::{Config, Service};
use berth_durable::make_folder;

use crate::{Error, Result};

/// The program of pods' own processes.
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pod-init"));
/// Its name in its root file system.
pub const INIT_NAME: &str = "pause";
/// Folders of that root file system that something is mounted on.
const PLACES: [&str; 4] = ["dev", "etc", "proc", "sys"];
/// And a file.
const RESOLVER: &str = "etc/resolv.conf";
/// What the name of a file that says which archive is being written ends with.
pub const ARCHIVE_MARK: &str = ".archive";
/// Folders of pods and containers: containers of other users may have to pass.
const PASSABLE: u32 = 0o755;

/// The folders of this service.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
    state: PathBuf,
}

/// The files of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFolders {
    /// Hostname, hosts, resolv.conf.
    pub root: PathBuf,
    /// What goes with a start of the machine: shm.
    pub state: PathBuf,
}

impl Folders {
    /// Those of a node with this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (root, state) = (config.service_root(Service::Cri), config.service_state(Service::Cri));
        Self { root, state }
    }

    /// What lasts over a start of the machine: the store, and folders of pods and containers.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files of the pod `id`.
    #[must_use]
    pub fn pod(&self, id: &str) -> PodFolders {
        let below = |folder: &Path| folder.join("sandboxes").join(id);
        PodFolders { root: below(&self.root), state: below(&self.state) }
    }

    /// The folder of the container `id`: its volumes.
    #[must_use]
    pub fn container(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    /// What a container goes on from when it is started; not there for one that begins.
    #[must_use]
    pub fn saved(&self, id: &str) -> PathBuf {
        self.container(id).join("checkpoint")
    }

    /// What a container was given its files of, when it was restored: the path of an archive.
    #[must_use]
    pub fn restored(&self, id: &str) -> PathBuf {
        self.container(id).join("restored")
    }

    /// Where checkpoints are while they are written: a folder for each container that stands still.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The path of the archive that a container is being written to, in somebody else's folder.
    #[must_use]
    pub fn archive_mark(&self, id: &str) -> PathBuf {
        self.checkpoints().join(format!("{id}{ARCHIVE_MARK}"))
    }

    /// The folder of pipes and sockets of a container's or command's streams.
    #[must_use]
    pub fn streams(&self, id: &str) -> PathBuf {
        // Short: a socket's whole path has 107 bytes.
        self.state.join("io").join(&id[..id.len().min(20)])
    }

    /// Removes folders of containers that there are not. Blocks.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn clear(&self, containers: &BTreeSet<String>) -> Result<()> {
        let streams: BTreeSet<_> = containers.iter().map(|id| self.streams(id)).collect();
        let kept: BTreeSet<_> = containers.iter().map(|id| self.container(id)).collect();
        for (folder, kept) in
            [(self.state.join("io"), streams), (self.root.join("containers"), kept)]
        {
            let entries = match fs_err::read_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(Error::file("list", &folder))?,
            };
            for entry in entries {
                let path = entry.map_err(Error::file("list", &folder))?.path();
                if !kept.contains(&path) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// The root file system of pods' own processes: a folder with one program, and places for mounts, which those who are
    /// not this machine's root could not make.
    #[must_use]
    pub fn init(&self) -> PathBuf {
        self.state.join("init")
    }

    /// Makes what all pods need.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn make(&self) -> Result<()> {
        for folder in [&self.root, &self.state, &self.init()] {
            make_folder(folder, PASSABLE).map_err(Error::file("make", folder))?;
        }
        for place in PLACES {
            let folder = self.init().join(place);
            make_folder(&folder, PASSABLE).map_err(Error::file("make", &folder))?;
        }
        let resolver = self.init().join(RESOLVER);
        // One that is there stays: pods that run have something mounted on it, which would go with it.
        let made = fs_err::OpenOptions::new().create(true).append(true).open(&resolver);
        made.map_err(Error::file("make", resolver))?;
        let init = self.init().join(INIT_NAME);
        // One that runs cannot be written to: it is replaced.
        berth_durable::replace(&init, INIT, 0o555).map_err(Error::file("write", init))
    }
}

/// Makes a folder where there is none, with those above it. `mode` is its own permissions, less the umask. It is not
/// flushed: for what is of no use any more after a start of the machine, which ends pods. Blocks.
///
/// # Errors
/// [`Error::File`].
pub fn make(folder: &Path, mode: u32) -> Result<()> {
    let made = folder.parent().map_or(Ok(()), fs_err::create_dir_all);
    let mut new = std::fs::DirBuilder::new();
    match made.and_then(|()| new.mode(mode).create(folder)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made.map_err(Error::file("make", folder)),
    }
}

/// The names of what is in a folder, which need not be there. Blocks.
///
/// # Errors
/// [`Error::File`].
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("list", folder))?,
    };
    let name = |entry: std::io::Result<fs_err::DirEntry>| {
        let entry = entry.map_err(Error::file("list", folder))?;
        Ok(entry.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Removes a folder with what is in it, if it is there, however deep it is: containers write to volumes. Blocks.
///
/// # Errors
/// [`Error::File`].
pub fn remove(folder: &Path) -> Result<()> {
    berth_tree::remove(folder).map_err(|errno| Error::file("remove", folder)(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_no_container_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders { root: dir.path().join("root"), state: dir.path().join("state") };
        let none = BTreeSet::new();
        folders.clear(&none).unwrap();
        let (one, other) = ("a".repeat(64), "b".repeat(64));
        for id in [&one, &other] {
            fs_err::create_dir_all(folders.streams(id).join("exec")).unwrap();
            fs_err::create_dir_all(folders.container(id)).unwrap();
        }
        folders.clear(&[one.clone()].into()).unwrap();
        assert!(folders.streams(&one).is_dir() && folders.container(&one).is_dir());
        assert!(!folders.streams(&other).exists() && !folders.container(&other).exists());
    }
}
