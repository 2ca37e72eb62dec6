//! A connected unix socket that wakes its task only for what it waits for.
//!
//! tokio's own stream waits for reading and writing at once. Each time the other side has read
//! something there is room for more, and a process that waits for an answer is woken for nothing:
//! with small calls every second time that it wakes at all. Here writing is waited for only while
//! the kernel takes no more.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{UCred, pipe};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// Between two tries to write, for a process that has no descriptor left to wait with.
const PAUSE: Duration = Duration::from_millis(10);

/// The kernel takes no more.
#[derive(Debug)]
enum Full {
    /// The stream once more, which wakes when it does.
    Waits(pipe::Sender),
    /// There is no descriptor for that: it is tried again.
    Tries(Pin<Box<Sleep>>),
}

/// One end of a connection.
#[derive(Debug)]
pub struct Socket {
    /// Of tokio's types those of pipes wait for one thing each; what they wait on they do not mind.
    stream: pipe::Receiver,
    full: Option<Full>,
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

    /// Begins to wait until the kernel takes more.
    fn wait(&self) -> io::Result<Full> {
        match fcntl_dupfd_cloexec(&self.stream, 3) {
            Ok(again) => Ok(Full::Waits(pipe::Sender::from_owned_fd_unchecked(again)?)),
            // A connection that cannot be made again must not end for that.
            Err(Errno::MFILE | Errno::NFILE) => Ok(Full::Tries(Box::pin(sleep(PAUSE)))),
            Err(error) => Err(error.into()),
        }
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
        loop {
            match &mut self.full {
                None => match self.send(parts) {
                    Err(Errno::AGAIN) => self.full = Some(self.wait()?),
                    sent => return Poll::Ready(sent.map_err(Into::into)),
                },
                Some(Full::Waits(full)) => {
                    let sent = ready!(Pin::new(full).poll_write_vectored(cx, parts));
                    self.full = None;
                    return Poll::Ready(sent);
                }
                Some(Full::Tries(pause)) => {
                    ready!(pause.as_mut().poll(cx));
                    self.full = None;
                }
            }
        }
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
