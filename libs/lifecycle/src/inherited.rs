//! What the supervisor hands down in the environment; pipes are taken from it once.

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::Error;

/// Names the read end of the lifeline pipe.
pub const LIFELINE_FD: &str = "BERTH_LIFELINE_FD";
/// Names the write end of the ready pipe.
pub const READY_FD: &str = "BERTH_READY_FD";
/// Set while the node starts: until the service has served once.
pub const NODE_STARTS: &str = "BERTH_NODE_STARTS";

/// Descriptors that were taken already: each belongs to its first taker.
static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Whether the node starts with this process; one that is started again after it has served does not
/// hold up a node that runs.
#[must_use]
pub fn node_starts() -> bool {
    env::var_os(NODE_STARTS).is_some()
}

/// Takes the descriptor that `variable` names, closed on exec from now on. None when the variable
/// is not set or the descriptor was taken before.
pub(crate) fn take(variable: &'static str) -> Result<Option<OwnedFd>, Error> {
    let Some(number) = named(variable)? else { return Ok(None) };
    if !claim(number) {
        return Ok(None);
    }
    is_pipe(number).map_err(|source| unusable(variable, source))?;
    // SAFETY: the descriptor is open (checked above) and the supervisor's contract is that it is
    // this process's to own; the list of taken ones makes sure that nobody else here owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(|errno| unusable(variable, errno.into()))?;
    Ok(Some(fd))
}

/// Keeps the ready pipe, which is taken later, from what this process starts until then.
pub(crate) fn keep_ready() -> Result<(), Error> {
    let Some(number) = named(READY_FD)? else { return Ok(()) };
    is_pipe(number).map_err(|source| unusable(READY_FD, source))?;
    // SAFETY: it is open (checked above), and borrowed for this one call.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(|errno| unusable(READY_FD, errno.into()))
}

/// The number that `variable` gives.
fn named(variable: &'static str) -> Result<Option<RawFd>, Error> {
    let Some(value) = env::var_os(variable) else { return Ok(None) };
    let malformed = || io::Error::new(io::ErrorKind::InvalidInput, "not a descriptor's number");
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 2);
    number.map(Some).ok_or_else(|| unusable(variable, malformed()))
}

/// Whether nobody has taken this descriptor yet; it is the caller's from then on.
pub(crate) fn claim(number: RawFd) -> bool {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = !taken.contains(&number);
    if free {
        taken.push(number);
    }
    free
}

fn is_pipe(number: RawFd) -> io::Result<()> {
    use rustix::fs::FileType;
    // SAFETY: borrowed for this one call; a number that is not open answers EBADF.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pipe"))
    }
}

pub(crate) fn unusable(variable: &'static str, source: io::Error) -> Error {
    let value = env::var_os(variable).unwrap_or_default().to_string_lossy().into_owned();
    Error::Pipe { variable, value, source }
}
