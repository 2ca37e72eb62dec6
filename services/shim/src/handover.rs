//! The handover of a new shim to whoever asked for it. Until they were told where it answers it is
//! bound to its starter, which may be killed: it ends when that does, and nobody looks for it.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use crate::Error;
use crate::children::daemon;

/// Which of two processes this is, after [`divide`].
pub(crate) enum Side {
    /// The one that was there, with the new shim.
    Starter(NewShim),
    /// The new shim, with its bond to the other.
    Shim(Bond),
}

/// Makes the shim that will serve `socket`. It is a process that goes on as this one does.
///
/// Has to be called while the process has one thread.
pub(crate) fn divide(socket: &Path) -> std::io::Result<Side> {
    let (reader, writer) = std::io::pipe()?;
    let socket = socket.to_owned();
    Ok(match daemon()? {
        Some(pid) => Side::Starter(NewShim { pid, socket, bond: Some(writer) }),
        None => Side::Shim(Bond { reader, socket }),
    })
}

/// A new shim as its starter has it. Dropped before it is handed over, it ends.
pub(crate) struct NewShim {
    pid: Pid,
    socket: PathBuf,
    /// The one descriptor of it: the kernel closes it however this process ends.
    bond: Option<PipeWriter>,
}

impl NewShim {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it serve: its address was told.
    pub(crate) fn hand_over(mut self) -> Result<(), Error> {
        let told = self.bond.take().map_or(Ok(()), |mut bond| bond.write_all(&[1]));
        told.map_err(Error::io("hand over the shim"))
    }
}

impl Drop for NewShim {
    fn drop(&mut self) {
        if self.bond.is_some() {
            // While it still listens: afterwards a new shim may have the path.
            let _ = std::fs::remove_file(&self.socket);
            // It is our own child and has not been waited for. Whoever called us is not kept
            // waiting until it has noticed.
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
    }
}

/// The new shim's bond to its starter.
pub(crate) struct Bond {
    reader: PipeReader,
    socket: PathBuf,
}

impl Bond {
    /// Waits for the handover. When the starter was killed the socket is taken away.
    pub(crate) fn released(mut self) -> Result<(), Error> {
        let released = self.reader.read_exact(&mut [0]);
        if released.is_err() {
            let _ = std::fs::remove_file(&self.socket);
        }
        released.map_err(Error::io("wait for the handover"))
    }
}
