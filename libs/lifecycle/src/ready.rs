//! Saying that this process serves, to whoever waits for it.

use crate::Error;
use crate::inherited::{READY_FD, take, unusable};
use crate::systemd::tell;

/// Says that this process serves: to systemd if it asked, and to the supervisor if there is one.
/// What was said once is not said again.
///
/// # Errors
/// [`Error::Pipe`] when the supervisor's pipe is no pipe, [`Error::Notify`] when systemd asked to
/// be told and could not be.
pub fn notify_ready() -> Result<(), Error> {
    if let Some(pipe) = take(READY_FD)? {
        match rustix::io::write(&pipe, b"1") {
            // A supervisor that is gone has no use for the byte; its lifeline ends us.
            Ok(_) | Err(rustix::io::Errno::PIPE) => {}
            Err(errno) => return Err(unusable(READY_FD, errno.into())),
        }
    }
    tell("READY=1\n").map_err(Error::Notify)
}
