//! Copying one stream to its end.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::losses::{Losses, Lost};

/// Per stream: a container has few, and a node has many containers.
pub(super) const BUFFER: usize = 8 << 10;

/// Copies a process's output to who reads it, until it ends: what it has said before, and what follows.
pub(crate) async fn output(
    said: Vec<u8>,
    mut from: impl AsyncRead + Unpin,
    mut to: pipe::Sender,
    name: String,
) {
    let mut losses = Losses::default();
    if !said.is_empty() {
        let written = to.write_all(&said).await.map(|()| true);
        losses.note(written.map_err(|error| Lost { bytes: said.len() as u64, error }), &name);
    }
    // It is not needed while the process runs.
    drop(said);
    let mut buffer = vec![0; BUFFER];
    // A terminal's other side closing is an error here, a pipe's is an end.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let written = to.write_all(&buffer[..count]).await.map(|()| true);
        losses.note(written.map_err(|error| Lost { bytes: count as u64, error }), &name);
    }
    losses.end(&name);
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
