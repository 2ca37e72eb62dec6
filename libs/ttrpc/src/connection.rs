//! What both sides do alike with a connection.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use crate::Error;

/// Bytes read ahead: small, there is one per connection.
pub(crate) const READ_BUFFER: usize = 4 << 10;

/// Writes queued frames until the queue ends, the peer hangs or the connection fails.
pub(crate) async fn write(
    mut writer: OwnedWriteHalf,
    mut frames: mpsc::Receiver<BytesMut>,
    patience: Duration,
) -> Result<(), Error> {
    while let Some(frame) = frames.recv().await {
        let written = tokio::time::timeout(patience, writer.write_all(&frame));
        written.await.map_err(|_| Error::Hung(patience))??;
    }
    Ok(())
}
