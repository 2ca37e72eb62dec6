//! A stream from the client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

use super::{Owed, QUEUE, State};

/// What a client sends on one stream. Ends when the client ends it; fails with `ConnectionReset` if the
/// client, or its connection, goes without having ended it.
#[derive(Debug)]
pub struct Input {
    queue: DuplexStream,
    stream: u32,
    owed: Arc<Owed>,
    state: Arc<State>,
    /// Bytes read that the client has not been told of.
    read: usize,
}

impl Input {
    pub(super) fn new(
        queue: DuplexStream,
        stream: u32,
        owed: Arc<Owed>,
        state: Arc<State>,
    ) -> Self {
        Self { queue, stream, owed, state, read: 0 }
    }
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining();
        ready!(Pin::new(&mut self.queue).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read == 0 && room > 0 && self.state.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.read += read;
        // Not for each read: credit costs a frame.
        if self.read >= QUEUE / 2 {
            self.owed.credit(self.stream, u32::try_from(self.read).unwrap_or(u32::MAX));
            self.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}
