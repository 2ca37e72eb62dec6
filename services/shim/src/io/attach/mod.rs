//! Attaching to a process: a socket on which its output is heard and its input is said, as long as
//! the process is not deleted. Who attaches may go away at any time, and the process and its log
//! never wait for them.
//!
//! A client begins with one byte, the sum of what it takes part in: 1 standard input, 2 standard
//! output, 4 standard error. Then each side sends frames: a byte of kind, the count of the bytes
//! that follow (4 bytes, the highest first, at most 64 KiB), and these.
//!
//! | kind | from | |
//! |---|---|---|
//! | 0 | client | data for standard input |
//! | 1 | client | the end of standard input, without bytes; only once, and no data after it |
//! | 1, 2 | shim | what was written to standard output, to standard error |
//! | 3 | shim | the output has ended, without bytes; nothing follows |
//!
//! - There is no replay: a client hears what is written after the shim has read its first byte.
//! - A client that is [`queue::MOST`] behind is dropped: its connection ends without frame 3. So is
//!   one that sends anything else, and one of which the first byte does not come in time.
//! - A client that closes its side is gone; what it had sent is still said, within a bound.
//! - A terminal has no standard error.
//! - Without standard input (`stdin=` of the address is absent) data for it is passed over.

mod client;
mod door;
mod frame;
mod hub;
mod input;
mod queue;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::socket::{self, Bound};
use crate::{Error, log};
use input::Input;

pub(crate) use hub::{Hub, Tap};
pub(crate) use input::To;

/// How long clients may take to hear the end when a process is deleted.
const FLUSH: Duration = Duration::from_secs(2);

/// Where a process is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of the socket; absolute, and short enough for one.
    pub path: PathBuf,
    /// None: the process has no standard input.
    pub stdin: Option<Stdin>,
}

/// What the end of a client's input is to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// Nothing: others may follow.
    Open,
    /// The end of its own.
    Once,
}

/// The socket of a process, and who is connected.
pub(crate) struct Attach {
    hub: Arc<Hub>,
    input: Arc<Input>,
    socket: SocketFile,
    /// One, which owns the listener and all connections.
    tasks: JoinSet<()>,
}

/// The name of a socket, gone before its listener is.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Its folder may be gone with it.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Attach {
    /// Listens.
    pub(crate) fn open(place: &Place, hub: Arc<Hub>, to: Option<To>) -> Result<Attach, Error> {
        let (listener, socket) = bind(&place.path)?;
        let input = Arc::new(Input::new(to, place.stdin == Some(Stdin::Once)));
        let mut tasks = JoinSet::new();
        tasks.spawn(door::serve(listener, hub.clone(), input.clone()));
        Ok(Attach { hub, input, socket, tasks })
    }

    /// Ends the process's standard input, after what is being written to it.
    pub(crate) fn close_stdin(&self) {
        self.input.close();
    }

    /// Tells all clients of the end and lets them go.
    pub(crate) async fn close(self) {
        let Attach { hub, input: _, socket, mut tasks } = self;
        drop(socket);
        hub.close();
        // Whoever has not heard it all by then is cut off.
        let _ = tokio::time::timeout(FLUSH, tasks.join_next()).await;
        tasks.shutdown().await;
    }
}

fn bind(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let taken = |reason: &str| Error::Invalid {
        what: format!("attach socket {}", path.display()),
        reason: reason.into(),
    };
    if std::fs::symlink_metadata(path)
        .is_ok_and(|meta| !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()))
    {
        return Err(taken("something else is there"));
    }
    let Bound::New(listener) = socket::bind(path)? else {
        return Err(taken("somebody listens there"));
    };
    let file = SocketFile(path.to_owned());
    let step = || Error::io("listen for clients that attach");
    listener.set_nonblocking(true).map_err(step())?;
    Ok((UnixListener::from_std(listener).map_err(step())?, file))
}

/// Tells of a client that was sent away.
fn sent_away(why: &str) {
    log::warn(format_args!("a client that was attached is dropped: {why}"));
}

#[cfg(test)]
mod tests;
