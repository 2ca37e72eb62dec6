//! Where a copied stream ends up.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::net::unix::pipe;

use super::cri::{CriLog, Partial};
use crate::Error;
use crate::tasks::lock;

/// The end of one output stream.
pub(crate) enum Sink {
    /// Somebody reads it, in their own time.
    Pipe(pipe::Sender),
    /// It is kept.
    Log(Log),
}

/// What takes all that it is given at once.
pub(crate) enum Log {
    File(Arc<File>),
    Cri { log: Arc<Mutex<CriLog>>, stream: &'static str, partial: Partial },
}

impl Sink {
    /// A named pipe, opened for both directions so that no reader is needed and its going away
    /// is no error; or a file, appended to.
    pub(crate) fn open(path: &Path) -> Result<Sink, Error> {
        let step = || Error::io(format!("open {}", path.display()));
        let kind = std::fs::metadata(path).map_err(step())?.file_type();
        if kind.is_fifo() {
            let pipe = pipe::OpenOptions::new().read_write(true).open_sender(path);
            return Ok(Sink::Pipe(pipe.map_err(step())?));
        }
        let file = File::options().append(true).open(path).map_err(step())?;
        Ok(Sink::Log(Log::File(Arc::new(file))))
    }
}

impl Log {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Log::File(file) => file.as_ref().write_all(bytes),
            Log::Cri { log, stream, partial } => lock(log).write(stream, partial, bytes),
        }
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        match self {
            Log::File(_) => Ok(()),
            Log::Cri { log, stream, partial } => lock(log).finish(stream, partial),
        }
    }
}
