//! Copying one stream to its end.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;

use crate::log;

/// Per stream: a container has few, and a node has many containers.
pub(super) const BUFFER: usize = 8 << 10;

/// Copies a process's output to who reads it, until it ends.
pub(crate) async fn output(mut from: impl AsyncRead + Unpin, mut to: pipe::Sender, name: String) {
    let mut buffer = vec![0; BUFFER];
    let mut losses = Losses::default();
    // A terminal's other side closing is an error here, a pipe's is an end.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        losses.note(to.write_all(&buffer[..count]).await, &name);
    }
}

/// Whether what was written last is lost. A sink that fails loses what is written to it: the
/// container is not to wait for a full disk.
#[derive(Default)]
pub(super) struct Losses(bool);

impl Losses {
    /// Tells of the first of several that follow each other.
    pub(super) fn note(&mut self, written: std::io::Result<()>, name: &str) {
        if let Err(error) = &written
            && !self.0
        {
            log::warn(format_args!("write output of {name}: {error}; it is lost"));
        }
        self.0 = written.is_err();
    }
}

/// Copies to a process's input until either side ends.
pub(crate) async fn input(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}
