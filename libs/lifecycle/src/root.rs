//! The two folders of a node, and that either a berthd has them or services that run without one.
//!
//! The services of a berthd inherit its exclusive lock on `services.lock`; services that run without one
//! share that lock. So either keeps the other away. That there is one service of a kind is ensured by
//! its store and its socket.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use fs_err::File;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use crate::{Error, LIFELINE_FD};

/// Below the root: who may open the stores.
pub const SERVICES_LOCK: &str = "services.lock";

/// How long services of a berthd that has ended may take to drain.
const DRAIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Makes `root`, which only we enter, and `state`, through which others reach their sockets.
///
/// # Errors
/// [`Error::ContainerdsRoot`], before anything is touched; [`Error::Folder`].
pub fn make_folders(root: &Path, state: &Path) -> Result<(), Error> {
    let database = root.join("io.containerd.metadata.v1.bolt/meta.db");
    if database.exists() {
        return Err(Error::ContainerdsRoot { database });
    }
    make_one(root, 0o700)?;
    make_one(state, 0o711)
}

fn make_one(path: &Path, mode: u32) -> Result<(), Error> {
    let failed = |step| move |source| Error::Folder { step, path: path.to_owned(), source };
    fs_err::create_dir_all(path).map_err(failed("make folder"))?;
    let permissions = std::fs::Permissions::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(failed("set the mode of folder"))
}

/// Does for a service that nobody supervises what berthd does for its own: makes the folders and holds the
/// root against a berthd, as long as the answer is kept. None if a berthd started this process.
///
/// # Errors
/// As [`make_folders`]; [`Error::RootInUse`] when a berthd, or services that one left, have it.
pub async fn without_supervisor(root: &Path, state: &Path) -> Result<Option<OwnedFd>, Error> {
    if std::env::var_os(LIFELINE_FD).is_some() {
        return Ok(None);
    }
    make_folders(root, state)?;
    let path = root.join(SERVICES_LOCK);
    let failed = |step| {
        let path = path.clone();
        move |source| Error::Folder { step, path, source }
    };
    let file = open_lock(&path).map_err(failed("open"))?;
    let give_up = Instant::now() + DRAIN;
    loop {
        match flock(file.file(), FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(Some(file.into_parts().0.into())),
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => sleep(LOOK_AGAIN).await,
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::RootInUse { root: root.to_owned(), lock: path });
            }
            Err(errno) => return Err(failed("lock")(errno.into())),
        }
    }
}

/// Opens a file that is there to be locked, and makes it.
///
/// # Errors
/// What the kernel says.
pub fn open_lock(path: &Path) -> std::io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}
