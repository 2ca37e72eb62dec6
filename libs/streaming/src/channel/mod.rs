//! The ends of streams: what the user of this crate reads and writes, whichever protocol carries it.
//!
//! Owns: the bounded queues between a connection and its streams, and what is owed on each.
//! Must not know: frames and messages.
//!
//! ```text
//! connection's reader ── duplex, 64 KiB per stream ──> Input
//! connection's writer <── 16 pieces of 32 KiB for all streams ── Output
//!                     <── Owed: ends, resets, credit (one entry per stream) ── Input, Output
//! ```

mod forwarded;
mod input;
mod output;
mod owed;
mod state;

pub use forwarded::Forwarded;
pub use input::Input;
pub use output::Output;

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

pub(crate) use owed::{Due, Owed, Parting};
pub(crate) use state::{Pace, State};

/// Bytes that wait for the reader of one stream: SPDY's window.
pub(crate) const QUEUE: usize = 64 << 10;
/// Bytes of one piece of output.
pub(crate) const PIECE: usize = 32 << 10;
/// Pieces of output that wait for a connection's writer.
pub(crate) const PIECES: usize = 16;

/// What a connection's writer sends, in order.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Output of a stream.
    Data(u32, Bytes),
    /// A stream was accepted.
    Reply(u32),
    /// A stream was refused, with a code.
    Refuse(u32, u32),
    /// The answer to a ping.
    Pong(u32),
}

/// Where the streams of a connection leave what its writer sends.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) pieces: mpsc::Sender<Piece>,
    pub(crate) owed: Arc<Owed>,
    pub(crate) pace: Arc<Pace>,
}

impl Link {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Piece>) {
        let (pieces, queue) = mpsc::channel(PIECES);
        (Self { pieces, owed: Arc::default(), pace: Arc::default() }, queue)
    }

    /// A stream's three ends: the connection's, and the user's two.
    pub(crate) fn open(&self, stream: u32) -> (Feed, Input, Output) {
        let state = Arc::new(State::new(self.pace.clone()));
        let (feed, end) = tokio::io::duplex(QUEUE);
        let feed = Feed { queue: Some(feed), state: state.clone() };
        let input = Input::new(end, stream, self.owed.clone(), state.clone());
        let output = Output::new(stream, self, state);
        (feed, input, output)
    }
}

/// The connection's end of a stream.
#[derive(Debug)]
pub(crate) struct Feed {
    queue: Option<DuplexStream>,
    pub(crate) state: Arc<State>,
}

impl Feed {
    /// Queues what arrived; waits while the queue is full. What nobody reads any more is dropped.
    pub(crate) async fn push(&mut self, bytes: &[u8]) {
        if let Some(queue) = &mut self.queue
            && tokio::io::AsyncWriteExt::write_all(queue, bytes).await.is_err()
        {
            self.queue = None;
        }
    }

    /// Nothing more will arrive.
    pub(crate) fn end(&mut self) {
        self.queue = None;
        self.state.remote_ended();
    }

    /// The other side gave the stream up.
    pub(crate) fn reset(&mut self) {
        self.state.reset();
        self.queue = None;
    }
}

impl Drop for Feed {
    /// The connection ended: unless the stream had ended before, that cuts it off.
    fn drop(&mut self) {
        self.state.cut();
    }
}

#[cfg(test)]
mod tests;
