//! Namespaces pinned by a bind mount.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstatfs, open};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::{Error, entered};

/// What statfs(2) says of a namespace's file.
const NSFS: u64 = 0x6e73_6673;
/// The calling thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// The most mounts on one another that are undone: each is somebody's mistake.
const STACKED: usize = 64;

/// A network namespace at a path, or where one may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetNs {
    path: PathBuf,
}

impl NetNs {
    /// What is at this path, if anything.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes a namespace and pins it in `folder`, which is made (0755) where it is missing.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Exists`], [`Error::Step`], [`Error::Thread`].
    pub fn make(folder: &Path, name: &str) -> Result<Self, Error> {
        let pin = Self::in_folder(folder, name)?;
        // The slow part comes first, so that nobody waits for it.
        entered::in_new(|| pin.pin(Path::new(OWN)))??;
        Ok(pin)
    }

    /// Where one of this name is in a folder, which is made.
    pub(crate) fn in_folder(folder: &Path, name: &str) -> Result<Self, Error> {
        if name.is_empty()
            || name.len() > 255
            || name.starts_with('.')
            || name.contains(['/', '\0'])
        {
            return Err(Error::Name(name.to_owned()));
        }
        let pin = Self::at(folder.join(name));
        fs_err::create_dir_all(folder).map_err(pin.step("make a folder for"))?;
        Ok(pin)
    }

    /// Its path, for `CNI_NETNS` and for runtime specifications.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor that keeps the namespace alive while it is open.
    ///
    /// # Errors
    /// [`Error::Missing`] where no namespace is pinned, [`Error::Step`].
    pub fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = match open(&self.path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(Error::Missing(self.path.clone())),
            Err(errno) => return Err(self.step("open")(errno)),
        };
        match is_nsfs(&fd).map_err(self.step("look at"))? {
            true => Ok(fd),
            false => Err(Error::Missing(self.path.clone())),
        }
    }

    /// Runs `work` on a thread of its own inside. What it opens there (sockets) stays there, also when used elsewhere.
    ///
    /// # Errors
    /// As [`NetNs::open`]; [`Error::Thread`].
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        entered::inside(self.open()?.as_fd(), work)
    }

    /// Whether a namespace is pinned here.
    ///
    /// # Errors
    /// [`Error::Step`].
    pub fn is_pinned(&self) -> Result<bool, Error> {
        match open(&self.path, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => is_nsfs(&fd).map_err(self.step("look at")),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(self.step("look at")(errno)),
        }
    }

    /// Unpins it, and removes what a cut off making or removal has left. May be repeated. The namespace itself goes
    /// when nothing else is in it any more.
    ///
    /// # Errors
    /// [`Error::Step`].
    pub fn remove(&self) -> Result<(), Error> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let _turn = match turn(folder) {
            Err(Errno::NOENT) => return Ok(()),
            turn => turn.map_err(self.step("lock the folder of"))?,
        };
        self.unmount_all()?;
        match fs_err::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.step("remove the file of")(error))
            }
            _ => Ok(()),
        }
    }

    /// Pins the namespace of a process or thread, by its path in /proc.
    pub(crate) fn pin(&self, namespace: &Path) -> Result<(), Error> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let _turn = turn(folder).map_err(self.step("lock the folder of"))?;
        if self.is_pinned()? {
            return Err(Error::Exists(self.path.clone()));
        }
        // A file that is there already was left behind, by somebody whose turn is over.
        let flags = OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::RDONLY;
        open(&self.path, flags | OFlags::NONBLOCK, Mode::from_raw_mode(0o444))
            .map_err(self.step("make a file for"))?;
        if let Err(errno) = mount_bind(namespace, &self.path) {
            // What made it fail is told; a file that stays is a leftover like any other.
            let _ = fs_err::remove_file(&self.path);
            return Err(self.step("pin")(errno));
        }
        Ok(())
    }

    fn unmount_all(&self) -> Result<(), Error> {
        for _ in 0..STACKED {
            match unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                // Not mounted on, or not there.
                Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(self.step("unmount")(errno)),
            }
        }
        Err(self.step("unmount")(Errno::BUSY))
    }

    pub(crate) fn step<E: Into<io::Error>>(&self, step: &'static str) -> impl Fn(E) -> Error {
        let path = self.path.clone();
        move |source| Error::Step { step, path: path.clone(), source: source.into() }
    }
}

/// The namespaces pinned in a folder, by name. There are none where the folder is not there.
///
/// # Errors
/// [`Error::Step`].
pub fn list(folder: &Path) -> Result<Vec<NetNs>, Error> {
    Ok(entries(folder)?.into_iter().filter(|(_, pinned)| *pinned).map(|(pin, _)| pin).collect())
}

/// The files in a folder that a cut off making or removal has left, by name; some of them may be about to be pinned.
///
/// # Errors
/// [`Error::Step`].
pub fn leftovers(folder: &Path) -> Result<Vec<NetNs>, Error> {
    Ok(entries(folder)?.into_iter().filter(|(_, pinned)| !*pinned).map(|(pin, _)| pin).collect())
}

/// Whether a path leads to a namespace, pinned by whomever or a process's own (`/proc/PID/ns/net`).
#[must_use]
pub fn is_namespace(path: &Path) -> bool {
    let opened = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    opened.is_ok_and(|fd| is_nsfs(&fd).unwrap_or(false))
}

/// Everything in a folder that is no folder, and whether a namespace is pinned there.
fn entries(folder: &Path) -> Result<Vec<(NetNs, bool)>, Error> {
    let whole = NetNs::at(folder);
    let read = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(whole.step("list"))?,
    };
    let mut found = Vec::new();
    for entry in read {
        let pin = NetNs::at(entry.map_err(whole.step("list"))?.path());
        // One that has gone meanwhile is not told of.
        let Ok(about) = fs_err::symlink_metadata(&pin.path) else { continue };
        if about.is_file() {
            let pinned = pin.is_pinned()?;
            found.push((pin, pinned));
        }
    }
    found.sort();
    Ok(found)
}

/// The folder's lock, held while the descriptor is open.
fn turn(folder: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = open(folder, flags, Mode::empty())?;
    rustix::io::retry_on_intr(|| flock(&fd, FlockOperation::LockExclusive))?;
    Ok(fd)
}

fn is_nsfs(fd: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(u64::try_from(fstatfs(fd)?.f_type).is_ok_and(|kind| kind == NSFS))
}
