//! Where a copied stream ends up.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::net::unix::pipe;

use super::attach::Tap;
use super::cri::{CriLog, Partial};
use super::losses::{Lost, append};
use crate::Error;
use crate::tasks::lock;

/// The end of one output stream.
pub(crate) enum Sink {
    /// Somebody reads it, in their own time.
    Pipe(pipe::Sender),
    /// It is kept, and perhaps heard by who is attached.
    Log(Log, Option<Tap>),
}

/// What takes all that it is given at once.
pub(crate) enum Log {
    File(Arc<File>),
    Cri {
        log: Arc<Mutex<CriLog>>,
        stream: &'static str,
        partial: Partial,
    },
    /// Nothing is kept.
    Discarded,
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
        Ok(Sink::file(Arc::new(file)))
    }

    pub(super) fn file(file: Arc<File>) -> Sink {
        Sink::Log(Log::File(file), None)
    }
}

impl Log {
    /// Answers whether anything had to be written.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<bool, Lost> {
        match self {
            Log::File(file) => match append(file, bytes) {
                Ok(()) => Ok(true),
                Err((done, error)) => Err(Lost { bytes: (bytes.len() - done) as u64, error }),
            },
            Log::Cri { log, stream, partial } => lock(log).write(stream, partial, bytes),
            Log::Discarded => Ok(false),
        }
    }

    /// The stream has ended.
    pub(super) fn finish(&mut self) -> Result<bool, Lost> {
        match self {
            Log::File(_) | Log::Discarded => Ok(false),
            Log::Cri { log, stream, partial } => lock(log).finish(stream, partial),
        }
    }
}
