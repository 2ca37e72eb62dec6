//! Copying one stream to its end.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::sink::Sink;
use crate::log;

/// Per stream: a container has few, and a node has many containers.
const BUFFER: usize = 8 << 10;

/// Copies a process's output until it ends. A sink that fails loses what is written to it: the
/// container is not to wait for a full disk.
pub(crate) async fn output(mut from: impl AsyncRead + Unpin, mut to: Sink, name: String) {
    let mut buffer = vec![0; BUFFER];
    let mut failing = false;
    loop {
        // A terminal's other side closing is an error here, a pipe's is an end.
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            break;
        }
        match to.write(&buffer[..count]).await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                log::warn(format_args!("write output of {name}: {error}; it is lost"));
            }
            Err(_) => {}
        }
    }
    if let Err(error) = to.finish() {
        log::warn(format_args!("write output of {name}: {error}"));
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
