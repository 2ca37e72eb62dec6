//! What this process and systemd say to each other, by the variables and datagrams of sd_notify(3) and
//! sd_listen_fds(3). Nobody asks for it without systemd, and then nothing is said.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::time::{MissedTickBehavior, interval};

use crate::Error;
use crate::inherited::claim;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_PID: &str = "WATCHDOG_PID";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";

/// What systemd says to this process and not to the programs that it starts.
pub const SYSTEMDS: [&str; 6] =
    [SOCKET, WATCHDOG_PID, WATCHDOG_USEC, LISTEN_PID, LISTEN_FDS, "LISTEN_FDNAMES"];

/// The first descriptor of those that systemd passes.
const FIRST: RawFd = 3;
/// How long systemd may take to have room for a datagram.
const ROOM: Duration = Duration::from_secs(1);
/// The shortest time between two signs of life.
const SHORTEST: Duration = Duration::from_millis(1);

/// Tells systemd a state, `NAME=VALUE` lines, if it asked to be told.
pub(crate) fn tell(state: &str) -> io::Result<()> {
    let Some(name) = env::var_os(SOCKET) else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(ROOM))?;
    socket.send_to_addr(state.as_bytes(), &address(&name)?).map(drop)
}

/// A path, or the name of an abstract socket behind an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

/// The same of what systemd does better knowing, and can do without.
fn mention(state: &str) {
    if let Err(error) = tell(state) {
        tracing::warn!(%error, state = state.trim_end(), "tell systemd");
    }
}

/// Says that this process reads its configuration again, until the answer is dropped.
#[must_use]
pub fn reloading() -> Reloading {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    mention(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    Reloading(())
}

/// A configuration is being read.
#[derive(Debug)]
pub struct Reloading(());

impl Drop for Reloading {
    fn drop(&mut self) {
        mention("READY=1\n");
    }
}

/// Says that this process was told to end and does so.
pub(crate) fn stopping() {
    mention("STOPPING=1\n");
}

/// Gives signs of life if systemd wants them, twice in the time after which it would kill this
/// process: as long as tasks get their turns. Does not end.
pub(crate) async fn live() {
    let Some(limit) = limit() else { return std::future::pending().await };
    let mut turns = interval((limit / 2).max(SHORTEST));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        mention("WATCHDOG=1\n");
    }
}

fn limit() -> Option<Duration> {
    let number = |variable| env::var(variable).ok().map(|text| text.parse::<u64>());
    let ours = number(WATCHDOG_PID).is_none_or(|pid| pid == Ok(std::process::id().into()));
    let micros = number(WATCHDOG_USEC)?.ok().filter(|micros| *micros > 0 && ours)?;
    Some(Duration::from_micros(micros))
}

/// The unix socket on which systemd listens for this process, if it does; only once. It blocks.
///
/// # Errors
/// [`Error::Activation`] when there are several, or what there is listens to nobody.
pub fn activated() -> Result<Option<UnixListener>, Error> {
    passed().map_err(Error::Activation)
}

fn passed() -> io::Result<Option<UnixListener>> {
    let wrong = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let Some(count) = env::var_os(LISTEN_FDS) else { return Ok(None) };
    // Meant for whoever started us, who has not taken the variables away.
    if env::var(LISTEN_PID).ok() != Some(std::process::id().to_string()) {
        return Ok(None);
    }
    match count.to_str().map(str::parse) {
        Some(Ok(0_u32)) => return Ok(None),
        Some(Ok(1)) => {}
        Some(Ok(more)) => return wrong(format!("there are {more} of them")),
        _ => return wrong(format!("{LISTEN_FDS} is {count:?}")),
    }
    // SAFETY: borrowed for these calls; a number that is not open answers EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(FIRST) };
    let listens = sockopt::socket_domain(fd)? == AddressFamily::UNIX
        && sockopt::socket_type(fd)? == SocketType::STREAM
        && sockopt::socket_acceptconn(fd)?;
    if !listens {
        return wrong("it is no unix socket that listens for streams".to_owned());
    }
    fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    if !claim(FIRST) {
        return Ok(None);
    }
    // SAFETY: it is open, and ours by the protocol; `claim` makes sure that nobody else here owns it.
    Ok(Some(unsafe { UnixListener::from_raw_fd(FIRST) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn sockets_are_named_by_paths_and_by_names_without_one() {
        let of = |name: &str| address(OsStr::new(name));
        let path = of("/run/systemd/notify").unwrap();
        assert_eq!(path.as_pathname().unwrap(), "/run/systemd/notify");
        assert_eq!(of("@notify").unwrap().as_abstract_name().unwrap(), b"notify");
        assert!(of(&"x".repeat(200)).is_err());
    }
}
