//! The writing side of a connection: what is queued, and what is owed.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;

use super::frame::{self, CANCEL, Head};
use super::headers::Empty;
use crate::channel::{Due, Owed, PIECES, Parting, Piece};
use crate::drive::Activity;

/// Writes until all has been said, or the client is gone.
pub(crate) async fn write<W: AsyncWrite + Unpin>(
    io: W,
    mut queue: mpsc::Receiver<Piece>,
    owed: Arc<Owed>,
    activity: Activity,
) -> io::Result<()> {
    let mut writer = Writer { io: BufWriter::new(io), empty: Empty::default(), last: 0 };
    loop {
        tokio::select! {
            // Without senders it is left to what is owed to say how to part.
            Some(piece) = queue.recv() => writer.piece(piece).await?,
            (debts, parting) = owed.next() => {
                // A stream's output was queued before its end was owed.
                for _ in 0..PIECES {
                    let Ok(piece) = queue.try_recv() else { break };
                    writer.piece(piece).await?;
                }
                for (stream, due) in debts {
                    writer.due(stream, due).await?;
                }
                if let Some(parting) = parting {
                    return writer.part(parting).await;
                }
            }
        }
        activity.touch();
        if queue.is_empty() {
            writer.io.flush().await?;
        }
    }
}

struct Writer<W> {
    io: BufWriter<W>,
    empty: Empty,
    /// The last stream that was accepted.
    last: u32,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn piece(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Data(stream, bytes) => {
                let head = Head::Data { stream, end: false, length: bytes.len() };
                self.io.write_all(&head.bytes()).await?;
                self.io.write_all(&bytes).await
            }
            Piece::Reply(stream) => {
                self.last = stream;
                let block = self.empty.next();
                self.io.write_all(&frame::reply(stream, &block)).await
            }
            Piece::Refuse(stream, status) => self.io.write_all(&frame::reset(stream, status)).await,
            Piece::Pong(id) => self.io.write_all(&frame::ping(id)).await,
        }
    }

    async fn due(&mut self, stream: u32, due: Due) -> io::Result<()> {
        if due.credit > 0 {
            self.io.write_all(&frame::widen(stream, due.credit)).await?;
        }
        if due.end && !due.reset {
            let head = Head::Data { stream, end: true, length: 0 };
            self.io.write_all(&head.bytes()).await?;
        }
        if due.reset {
            self.io.write_all(&frame::reset(stream, CANCEL)).await?;
        }
        Ok(())
    }

    async fn part(&mut self, parting: Parting) -> io::Result<()> {
        let status = u32::from(parting != Parting::Done);
        self.io.write_all(&frame::go_away(self.last, status)).await?;
        self.io.flush().await?;
        self.io.shutdown().await
    }
}
