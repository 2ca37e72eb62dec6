//! Streams beside a call: progress, credentials, archives.
//!
//! A stream is opened under a name, which the call then mentions. Archives go through it in
//! pieces, of which the receiver asks for so many bytes at a time.

use anyhow::{Context, Result, bail};
use berth_proto::containerd::services::streaming::v1::StreamInit;
use berth_proto::containerd::types::transfer::{Data, WindowUpdate};
use berth_proto::{pack, unpack};
use bytes::Bytes;
use prost_types::Any;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Client, Step};

/// How many bytes a receiver asks for at once.
const WINDOW: i32 = 256 << 10;

/// The most that one piece of an archive has.
const PIECE: usize = 32 << 10;

/// An open stream.
pub struct Stream {
    /// The name that the call mentions.
    pub id: String,
    sender: mpsc::Sender<Any>,
    receiver: tonic::Streaming<Any>,
}

impl Stream {
    /// Opens a stream; it is ready for the call that mentions it.
    pub async fn open(client: &Client, purpose: &str) -> Result<Self> {
        let id = format!("{purpose}-{}", uuid::Uuid::new_v4().simple());
        let doing = || format!("open a stream for {purpose}");
        let (sender, outgoing) = mpsc::channel(8);
        sender.send(pack(&StreamInit { id: id.clone() })).await.with_context(doing)?;
        let request = client.patient(ReceiverStream::new(outgoing));
        let answer = client.streaming().stream(request).await.step(doing)?;
        let mut receiver = answer.into_inner();
        if receiver.message().await.step(doing)?.is_none() {
            bail!("{}: the node closed it at once", doing());
        }
        Ok(Self { id, sender, receiver })
    }

    /// The next message; `None` when the other side has no more.
    pub async fn next(&mut self) -> Result<Option<Any>> {
        self.receiver.message().await.step(|| format!("read the stream {}", self.id))
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Any) -> Result<()> {
        let sent = self.sender.send(message).await;
        sent.with_context(|| format!("the stream {} was closed", self.id))
    }

    /// Sends all of `source` as it is asked for.
    pub async fn send_all(mut self, mut source: impl AsyncRead + Unpin) -> Result<()> {
        let mut window: i64 = 0;
        let mut buffer = vec![0; PIECE];
        loop {
            while window <= 0 {
                let Some(message) = self.next().await? else { return Ok(()) };
                if let Some(update) = unpack::<WindowUpdate>(&message) {
                    window += i64::from(update?.update);
                }
            }
            let most = usize::try_from(window).unwrap_or(PIECE).min(PIECE);
            let read = source.read(&mut buffer[..most]).await.context("read the archive")?;
            if read == 0 {
                break;
            }
            window -= read as i64;
            let data = Bytes::copy_from_slice(&buffer[..read]);
            self.send(pack(&Data { data })).await?;
        }
        // Dropping the sender tells the end; what is in flight still goes out.
        drop(self.sender);
        while self.receiver.message().await.is_ok_and(|message| message.is_some()) {}
        Ok(())
    }

    /// Receives everything into `sink`; gives the count of bytes.
    pub async fn receive_all(mut self, mut sink: impl AsyncWrite + Unpin) -> Result<u64> {
        let mut window: i64 = 0;
        let mut total = 0;
        loop {
            if window < i64::from(WINDOW) {
                // A sender that is done takes no more requests; what it sent is still read.
                if self.sender.send(pack(&WindowUpdate { update: WINDOW })).await.is_ok() {
                    window += i64::from(WINDOW);
                }
            }
            let Some(message) = self.next().await? else { break };
            if let Some(data) = unpack::<Data>(&message) {
                let data = data?.data;
                window -= data.len() as i64;
                total += data.len() as u64;
                sink.write_all(&data).await.context("write the archive")?;
            }
        }
        sink.flush().await.context("write the archive")?;
        Ok(total)
    }
}
