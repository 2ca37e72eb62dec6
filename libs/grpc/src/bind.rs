//! Making a unix socket to listen on, in the place of one that nobody serves any more.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::{UnixListener, UnixStream};

use crate::Error;

/// The longest path that fits a socket address, with its final zero.
const MAX_SOCKET_PATH: usize = 107;
/// How long another process that listens there may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Binds a unix socket that nobody but `mode` allows can ever connect to, in place of what a
/// process that is gone left behind.
///
/// A process that listens there gets five seconds to end, for which this blocks: one that was killed
/// may be on its way. It is at the start of a process, where nothing else is to be done.
///
/// # Errors
/// [`Error::Socket`], or [`Error::InUse`] when a living process listens there.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, Error> {
    let failed = |step| move |source| Error::Socket { step, path: path.to_owned(), source };
    let fresh = fresh_name(path);
    if fresh.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        let long = io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is longer than the 107 bytes that a socket's address holds",
        );
        return Err(failed("bind")(long));
    }
    wait_for_the_place(path)?;
    remove_if_there(&fresh).map_err(failed("clear the way for"))?;
    let listener = UnixListener::bind(&fresh).map_err(failed("bind"))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    std::fs::rename(&fresh, path).map_err(failed("move into place"))?;
    Ok(listener)
}

/// Beside the socket: the socket takes its place when it has its mode.
fn fresh_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn wait_for_the_place(path: &Path) -> Result<(), Error> {
    let give_up = Instant::now() + PATIENCE;
    while let Some(pid) = listener(path) {
        let own = pid.unsigned_abs() == std::process::id();
        if own || Instant::now() > give_up {
            return Err(Error::InUse { path: path.to_owned(), pid });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The living process that listens at `path`; 0 for one that is not to be seen from here. A socket
/// whose process has ended belongs to nobody, even if a child of it has it until it is a program of
/// its own.
fn listener(path: &Path) -> Option<i32> {
    let stream = std::os::unix::net::UnixStream::connect(path).ok()?;
    let asked = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
    let pid = asked.and_then(|stream| stream.peer_cred()).ok().and_then(|peer| peer.pid());
    let Some(known) = pid.and_then(Pid::from_raw) else { return Some(0) };
    lives(known).then_some(known.as_raw_nonzero().get())
}

fn lives(pid: Pid) -> bool {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(errno) => return errno != Errno::SRCH,
    };
    // Readable once it has ended, also before anybody has waited for it.
    let mut asked = [PollFd::new(&process, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&now)).is_ok_and(|ended| ended == 0)
}
