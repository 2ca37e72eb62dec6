//! Being told that memory ran out.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use berth_cgroup::Place;
use berth_cgroup_metrics::Pairs;
use rustix::event::EventfdFlags;
use rustix::fs::inotify;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::Cgroup;
use crate::Error;
use crate::tasks::lock;

/// A watched memory controller.
pub(crate) struct Memory {
    fd: AsyncFd<OwnedFd>,
    folder: PathBuf,
    /// Kills that were told. Held while one looks and tells.
    seen: Mutex<u64>,
    /// The file that the first hierarchy tells of; the second has none.
    control: Option<File>,
}

/// Begins to watch. `None` when the container's memory is not controlled.
pub(crate) fn watch(cgroup: &Cgroup) -> Result<Option<Memory>, Error> {
    let Some(folder) = cgroup.0.controller("memory") else { return Ok(None) };
    let step = || Error::io(format!("watch memory of {}", folder.display()));
    let (fd, control) = match &cgroup.0 {
        Place::V1(_) => register(folder).map(|(fd, file)| (fd, Some(file))).map_err(step())?,
        Place::V2(_) => (notify(folder).map_err(step())?, None),
    };
    debug_assert_eq!(control.is_none(), berth_cgroup::unified());
    // SAFETY: the descriptor is owned by the watch and never exchanged.
    let fd = unsafe { AsyncFd::register(fd) }.map_err(|error| step()(error.into()))?;
    let seen = Mutex::new(kills(folder));
    Ok(Some(Memory { fd, folder: folder.to_owned(), seen, control }))
}

impl Memory {
    /// Tells each time that processes were killed for memory, until the group is gone.
    pub(crate) async fn watch(&self, tell: impl Fn()) -> std::io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            if !self.look(&tell) {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Tells if processes were killed for memory since the last look, and returns after whoever
    /// else looks has told; `false` when the group is gone.
    pub(crate) fn look(&self, tell: impl FnOnce()) -> bool {
        let mut seen = lock(&self.seen);
        let told = drain(self.fd.get_ref());
        if !self.folder.exists() {
            return false;
        }
        let kills = kills(&self.folder);
        // The first hierarchy tells before it counts, and nothing else than this.
        let more = if self.control.is_some() { told } else { kills > *seen };
        *seen = kills;
        if more {
            tell();
        }
        true
    }
}

/// Reads all that is there; whether there was anything.
fn drain(fd: &OwnedFd) -> bool {
    let mut told = false;
    let mut buffer = [0; 1024];
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(_) => told = true,
            Err(Errno::INTR) => {}
            // Nothing more; nothing else can happen to these descriptors.
            Err(_) => return told,
        }
    }
}

/// v1: an eventfd that the kernel writes to.
fn register(folder: &Path) -> std::io::Result<(OwnedFd, File)> {
    let control = File::open(folder.join("memory.oom_control"))?;
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
    let name = if berth_cgroup::unified() { "memory.events" } else { "memory.oom_control" };
    Pairs::read(folder, name).get("oom_kill")
}
