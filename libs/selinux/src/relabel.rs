//! Giving a file, or a folder with all in it, a label.
//!
//! Who writes to a folder that is labelled for it may be hostile: nothing is found by a name twice, no link in it is
//! followed, one folder is open at a time, and what is mounted below keeps what it has. The folder itself comes last, so that one that
//! was cut off is not taken for one that is done.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

mod way;

/// The attribute that a label is kept in.
pub const ATTRIBUTE: &str = "security.selinux";

/// What is never labelled anew, though something below it may be: the machine would not work any more.
const SYSTEM: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How much is labelled at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Files, folders, links.
    pub entries: u64,
    /// Folders in one another.
    pub depth: usize,
    /// How long it may take.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 20_000_000, depth: 4096, time: Duration::from_secs(600) }
    }
}

/// What has not got its label, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is the machine's.
    #[error("SELinux relabeling of {0:?} is not allowed")]
    System(PathBuf),
    /// On the way to it is a link that was not surely made by this machine's root.
    #[error(
        "a link in {0:?} leads to it, which a container or another user may have made: mount what it leads to \
         by its own path"
    )]
    Link(PathBuf),
    /// More than the bounds allow.
    #[error("it has more than {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much there may be.
        most: u64,
    },
    /// A step failed.
    #[error("{step}: {source}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Gives what is at a path, and all below it on the same mount, a label; what has it already stays as it is. Nothing
/// happens where the file system keeps no labels. Links on the way to the path are followed where only this machine's
/// root can have made them, none below it. Blocks.
///
/// # Errors
/// [`Error`]; what has its label by then keeps it.
pub fn relabel(path: &Path, label: &str, bounds: Bounds) -> Result<(), Error> {
    let top = way::open(path, label)?;
    let real = place_of(&top)?;
    if is_systems(&real) {
        return Err(Error::System(real));
    }
    let mut work =
        Work { label, bounds, until: Instant::now().checked_add(bounds.time), entries: 0 };
    match work.top(&top) {
        Err(Stop::Unsupported) | Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Whether a path without links is one of the machine's, or the home of who runs this.
fn is_systems(real: &Path) -> bool {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    // Some of them are links on some machines.
    let is =
        |path: &Path| path == real || std::fs::canonicalize(path).is_ok_and(|path| path == real);
    SYSTEM.iter().any(|system| is(Path::new(system))) || home.is_some_and(|home| is(&home))
}

/// Why a tree is not done.
enum Stop {
    /// The file system keeps no labels.
    Unsupported,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// A folder above the one that is being labelled.
struct Level {
    /// Device and inode, to know it again by.
    identity: (u64, u64),
    /// Names in it that are left.
    left: Vec<Vec<u8>>,
}

struct Work<'a> {
    label: &'a str,
    bounds: Bounds,
    until: Option<Instant>,
    entries: u64,
}

impl Work<'_> {
    fn top(&mut self, top: &OwnedFd) -> Result<(), Stop> {
        self.count()?;
        self.in_time()?;
        if is_folder(top)? { self.below(open(top)?) } else { self.set(top) }
    }

    /// All in a folder, and then itself; the same of each folder in it.
    fn below(&mut self, top: OwnedFd) -> Result<(), Stop> {
        let mut left = self.list(&top)?;
        let mut current = top;
        let mut above: Vec<Level> = Vec::new();
        loop {
            if let Some(name) = left.pop() {
                let Some(entry) = find(&current, &name)? else { continue };
                self.in_time()?;
                if !is_folder(&entry)? {
                    self.set(&entry)?;
                    continue;
                }
                if above.len() >= self.bounds.depth {
                    let most = self.bounds.depth as u64;
                    return Err(Error::TooMuch { what: "folders in one another", most }.into());
                }
                let folder = open(&entry)?;
                let names = self.list(&folder)?;
                let left = std::mem::replace(&mut left, names);
                above.push(Level { identity: identity(&current)?, left });
                current = folder;
            } else {
                self.set(&current)?;
                let Some(level) = above.pop() else { return Ok(()) };
                let up = rustix::fs::openat(&current, "..", FOLDER, Mode::empty());
                let up = up.map_err(failed("open the folder above"))?;
                if identity(&up)? != level.identity {
                    // Somebody moves folders about; nothing outside is to be touched.
                    return Err(failed("open the folder above")(Errno::STALE).into());
                }
                (current, left) = (up, level.left);
            }
        }
    }

    /// The names in a folder, as many of them as there may be.
    fn list(&mut self, folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(failed("list"))? {
            let entry = entry.map_err(failed("list"))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.count()?;
            names.push(name.to_vec());
        }
        Ok(names)
    }

    fn count(&mut self) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.bounds.entries {
            return Err(Error::TooMuch { what: "entries", most: self.bounds.entries });
        }
        Ok(())
    }

    fn in_time(&self) -> Result<(), Error> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(failed("label all of it")(Errno::TIMEDOUT));
        }
        Ok(())
    }

    /// Labels what a handle is of, also a link.
    fn set(&self, handle: &OwnedFd) -> Result<(), Stop> {
        let (path, label) = (place(handle), self.label.as_bytes());
        let mut has = vec![0; label.len() + 1];
        // What is longer is another.
        if let Ok(length) = rustix::fs::getxattr(&path, ATTRIBUTE, &mut has[..])
            && has[..length].strip_suffix(b"\0").unwrap_or(&has[..length]) == label
        {
            return Ok(());
        }
        match rustix::fs::setxattr(&path, ATTRIBUTE, label, XattrFlags::empty()) {
            Err(Errno::NOTSUP) => Err(Stop::Unsupported),
            set => Ok(set.map_err(failed("set the label"))?),
        }
    }
}

/// What has a name in a folder; nothing if it is gone, or something is mounted there.
fn find(folder: &OwnedFd, name: &[u8]) -> Result<Option<OwnedFd>, Error> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder, name, HANDLE, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::XDEV) => Ok(None),
        opened => opened.map(Some).map_err(failed("open")),
    }
}

/// Opens the folder that a handle is of.
fn open(handle: &OwnedFd) -> Result<OwnedFd, Error> {
    rustix::fs::openat(handle, ".", FOLDER, Mode::empty()).map_err(failed("open"))
}

fn is_folder(handle: &OwnedFd) -> Result<bool, Error> {
    let stat = rustix::fs::fstat(handle).map_err(failed("look at"))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn identity(folder: &OwnedFd) -> Result<(u64, u64), Error> {
    let stat = rustix::fs::fstat(folder).map_err(failed("look at"))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// A path to what a descriptor is of, whatever its name has become: attributes are not set by handles.
fn place(handle: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()).into()
}

/// Where that is now.
fn place_of(handle: impl AsFd) -> Result<PathBuf, Error> {
    rustix::fs::readlink(place(handle), Vec::new())
        .map(|path| PathBuf::from(OsString::from_vec(path.into_bytes())))
        .map_err(failed("look at"))
}

fn failed(step: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Step { step, source: errno.into() }
}

#[cfg(test)]
mod tests;
