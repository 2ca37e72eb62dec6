//! Being told that memory ran out.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::EventfdFlags;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use super::files::Pairs;
use super::{Cgroup, locate};
use crate::Error;

/// Begins to watch; the returned watch tells of each time that processes were killed for memory.
/// `None` when the container's memory is not controlled.
pub(crate) fn watch(cgroup: &Cgroup) -> Result<Option<Watch>, Error> {
    let Some(folder) = cgroup.controller("memory") else { return Ok(None) };
    let step = || Error::io(format!("watch memory of {}", folder.display()));
    let (fd, keep) = match cgroup {
        Cgroup::V1(_) => register(folder).map(|(fd, file)| (fd, Some(file))).map_err(step())?,
        Cgroup::V2(_) => (notify(folder).map_err(step())?, None),
    };
    debug_assert_eq!(keep.is_none(), locate::unified());
    // SAFETY: the descriptor is owned by the watch and never exchanged.
    let fd = unsafe { AsyncFd::register(fd) }.map_err(|error| step()(error.into()))?;
    Ok(Some(Watch { fd, folder: folder.to_owned(), seen: kills(folder), _keep: keep }))
}

/// A watched memory controller.
pub(crate) struct Watch {
    fd: AsyncFd<OwnedFd>,
    folder: PathBuf,
    seen: u64,
    _keep: Option<std::fs::File>,
}

impl Watch {
    /// Waits for the next kill; `false` when the group is gone.
    pub(crate) async fn next(&mut self) -> std::io::Result<bool> {
        loop {
            self.fd
                .async_io(tokio::io::Interest::READABLE, |fd| {
                    let mut buffer = [0; 1024];
                    Ok(rustix::io::read(fd, &mut buffer)?)
                })
                .await?;
            if !self.folder.exists() {
                return Ok(false);
            }
            let kills = kills(&self.folder);
            let more = kills > self.seen;
            self.seen = kills;
            // The first hierarchy tells before it kills, and nothing else than this.
            if more || self._keep.is_some() {
                return Ok(true);
            }
        }
    }
}

/// v1: an eventfd that the kernel writes to.
fn register(folder: &Path) -> std::io::Result<(OwnedFd, std::fs::File)> {
    let control = std::fs::File::open(folder.join("memory.oom_control"))?;
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    std::fs::write(folder.join("cgroup.event_control"), line)?;
    Ok((event, control))
}

/// v2: a change of `memory.events`.
fn notify(folder: &Path) -> std::io::Result<OwnedFd> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&fd, folder.join("memory.events"), flags)?;
    Ok(fd)
}

fn kills(folder: &Path) -> u64 {
    let name = if locate::unified() { "memory.events" } else { "memory.oom_control" };
    Pairs::read(folder, name).get("oom_kill")
}
