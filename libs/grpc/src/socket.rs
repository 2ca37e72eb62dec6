//! A connected unix socket that wakes its task only for what it waits for.
//!
//! tokio's own stream waits for reading and writing at once. Each time the other side has read
//! something there is room for more, and a process that waits for an answer is woken for nothing:
//! with small calls every second time that it wakes at all. Here writing is waited for only while
//! the kernel takes no more.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{UCred, pipe};
use tonic::transport::server::Connected;

/// One end of a connection.
#[derive(Debug)]
pub struct Socket {
    /// Of tokio's types those of pipes wait for one thing each; what they wait on they do not mind.
    stream: pipe::Receiver,
    /// The stream once more, while the kernel takes no more.
    full: Option<pipe::Sender>,
    peer: Option<UCred>,
}

impl Socket {
    /// Takes a stream over.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred().ok();
        let stream = OwnedFd::from(stream.into_std()?);
        Ok(Self { stream: pipe::Receiver::from_owned_fd_unchecked(stream)?, full: None, peer })
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
        let nothing = &mut SendAncillaryBuffer::default();
        sendmsg(&self.stream, parts, nothing, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.full.is_none() {
            match self.send(parts) {
                Err(Errno::AGAIN) => {
                    let again = self.stream.as_fd().try_clone_to_owned()?;
                    self.full = Some(pipe::Sender::from_owned_fd_unchecked(again)?);
                }
                sent => return Poll::Ready(sent.map_err(Into::into)),
            }
        }
        let Some(full) = &mut self.full else { return Poll::Ready(Ok(0)) };
        let sent = ready!(Pin::new(full).poll_write_vectored(cx, parts));
        self.full = None;
        Poll::Ready(sent)
    }

    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&self.stream, Shutdown::Write).map_err(Into::into))
    }
}

impl Connected for Socket {
    /// Who is at the other end, as the kernel says it: among the extensions of each request.
    type ConnectInfo = Option<UCred>;

    fn connect_info(&self) -> Option<UCred> {
        self.peer
    }
}
