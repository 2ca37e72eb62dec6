//! A byte stream in the messages of a WebSocket: what SPDY runs in where a client has no other way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::channel::PIECE;

/// The messages of a connection as bytes.
#[derive(Debug)]
pub(crate) struct Tunnel<T> {
    messages: WebSocketStream<T>,
    /// What of a message is still to be read.
    rest: Bytes,
}

impl<T> Tunnel<T> {
    pub(crate) fn new(messages: WebSocketStream<T>) -> Self {
        Self { messages, rest: Bytes::new() }
    }
}

fn failed(failure: Error) -> io::Error {
    match failure {
        Error::Io(failure) => failure,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.messages).poll_next(cx)) {
                Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) => {
                    self.rest = message.into_data();
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(failure)) => return Poll::Ready(Err(failed(failure))),
            }
        }
        let taken = self.rest.len().min(buf.remaining());
        buf.put_slice(self.rest.get(..taken).unwrap_or_default());
        self.rest.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let messages = Pin::new(&mut self.messages);
        ready!(Sink::poll_ready(messages, cx)).map_err(failed)?;
        let part = buf.get(..PIECE).unwrap_or(buf);
        let message = Message::Binary(Bytes::copy_from_slice(part));
        Pin::new(&mut self.messages).start_send(message).map_err(failed)?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Sink::poll_flush(Pin::new(&mut self.messages), cx).map_err(failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Sink::poll_close(Pin::new(&mut self.messages), cx)) {
            Ok(()) | Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            Err(failure) => Poll::Ready(Err(failed(failure))),
        }
    }
}
