//! A stream to the client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio_util::sync::PollSender;

use super::{Link, Owed, PIECE, Piece, State};

/// What a client gets on one stream. Waits while the connection's queue is full, or the client's window
/// if it keeps one; fails with `BrokenPipe` when the client is gone. Dropped or shut down, it ends.
#[derive(Debug)]
pub struct Output {
    pieces: PollSender<Piece>,
    stream: u32,
    owed: Arc<Owed>,
    state: Arc<State>,
    ended: bool,
}

impl Output {
    pub(super) fn new(stream: u32, link: &Link, state: Arc<State>) -> Self {
        let pieces = PollSender::new(link.pieces.clone());
        Self { pieces, stream, owed: link.owed.clone(), state, ended: false }
    }

    /// What gives the stream up, also when this end of it has gone.
    pub(crate) fn handle(&self) -> Handle {
        Handle { stream: self.stream, owed: self.owed.clone(), state: self.state.clone() }
    }

    /// Sends an empty piece.
    pub(crate) fn open(&self) -> impl Future<Output = ()> + use<> {
        let (stream, pieces) = (self.stream, self.pieces.get_ref().cloned());
        async move {
            if let Some(pieces) = pieces {
                let _ended = pieces.send(Piece::Data(stream, Bytes::new())).await;
            }
        }
    }

    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.state.local_ended();
            self.owed.end(self.stream);
        }
    }
}

/// Gives a stream up in both directions.
#[derive(Debug)]
pub(crate) struct Handle {
    stream: u32,
    owed: Arc<Owed>,
    state: Arc<State>,
}

impl Handle {
    pub(crate) fn reset(self) {
        self.state.reset();
        self.owed.reset(self.stream);
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for Output {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended || self.pieces.is_closed() {
            return Poll::Ready(Err(broken()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.state.poll_room(buf.len().min(PIECE), cx)).ok_or_else(broken)?;
        ready!(self.pieces.poll_reserve(cx)).map_err(|_| broken())?;
        let bytes = Bytes::copy_from_slice(buf.get(..room).unwrap_or_default());
        let stream = self.stream;
        self.pieces.send_item(Piece::Data(stream, bytes)).map_err(|_| broken())?;
        self.state.sent(room);
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.end();
    }
}
