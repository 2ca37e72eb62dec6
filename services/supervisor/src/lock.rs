//! One supervisor, and one generation of services, per root.
//!
//! `berthd.lock` is the supervisor's alone. `services.lock` is inherited by every service, so that
//! it stays locked until the last one has ended, also when the supervisor was killed: a new one
//! does not start a second generation on the same stores. Services without a supervisor share it.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use berth_config::Config;
use berth_lifecycle::root::SERVICES_LOCK;
use fs_err::File;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use crate::Error;

/// How long a child that a killed supervisor was making may have its lock: until it is a program of
/// its own.
const HANDOVER: Duration = Duration::from_secs(5);
/// How long services of a killed supervisor may take to drain.
const DRAIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Locks the root against another supervisor; the lock is held as long as the file is open.
pub(crate) async fn root(config: &Config) -> Result<File, Error> {
    let path = config.root.join("berthd.lock");
    let failed = |source| Error::Folder { step: "write", path: path.clone(), source };
    let mut file = open(&path)?;
    let give_up = Instant::now() + HANDOVER;
    while !try_lock(&file, &path)? {
        let pid = fs_err::read_to_string(&path).unwrap_or_default();
        let gone = !pid.trim().is_empty() && !Path::new("/proc").join(pid.trim()).exists();
        if !gone || Instant::now() > give_up {
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() }.to_owned();
            return Err(Error::RootInUse { root: config.root.clone(), pid });
        }
        sleep(LOOK_AGAIN).await;
    }
    file.set_len(0).map_err(failed)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
    Ok(file)
}

/// Waits for the services of an earlier supervisor to end, and locks for those of this one.
pub(crate) async fn generation(config: &Config) -> Result<OwnedFd, Error> {
    let path = config.root.join(SERVICES_LOCK);
    let file = open(&path)?;
    let give_up = Instant::now() + DRAIN;
    let mut told = false;
    while !try_lock(&file, &path)? {
        if Instant::now() > give_up {
            let root = config.root.clone();
            return Err(Error::OldServices { root, lock: path, waited: DRAIN });
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!(
                "services of an earlier berthd, or without one, have the root: waiting for their end"
            );
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(file.into_parts().0.into())
}

fn open(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Folder { step: "open", path: path.to_owned(), source };
    berth_lifecycle::root::open_lock(path).map_err(failed)
}

fn try_lock(file: &File, path: &Path) -> Result<bool, Error> {
    match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => {
            Err(Error::Folder { step: "lock", path: path.to_owned(), source: errno.into() })
        }
    }
}
