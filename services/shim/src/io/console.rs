//! Terminals: the socket on which runc sends one, and reading and writing it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{UnixListener, UnixStream};

use crate::Error;

/// How long runc may take to send the terminal after it said that it is done.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket on which runc sends the terminal of a process.
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    file: PathBuf,
    /// Its path through a descriptor of ours: a bundle's own may be too long for a socket.
    path: PathBuf,
    _folder: OwnedFd,
}

impl ConsoleSocket {
    pub(crate) fn bind(bundle: &Path, name: &str) -> Result<ConsoleSocket, Error> {
        let step = || Error::io(format!("make console socket for {name}"));
        let folder = rustix::fs::open(
            bundle,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| step()(errno.into()))?;
        let name = format!("{name}.pty");
        let file = bundle.join(&name);
        let through = format!("/proc/{}/fd/{}", std::process::id(), folder.as_raw_fd());
        let path = Path::new(&through).join(&name);
        // One that an earlier attempt left behind.
        let _ = std::fs::remove_file(&file);
        let listener = UnixListener::bind(&path).map_err(step())?;
        Ok(ConsoleSocket { listener, file, path, _folder: folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal that runc sent.
    pub(crate) async fn receive(&self) -> Result<Console, Error> {
        let receive = async {
            let (stream, _) = self.listener.accept().await?;
            stream.readable().await?;
            stream.async_io(Interest::READABLE, || descriptor(&stream)).await
        };
        let received = tokio::time::timeout(PATIENCE, receive).await;
        let timeout = || Err(io::ErrorKind::TimedOut.into());
        let fd = received.unwrap_or_else(|_| timeout()).map_err(Error::io("receive console"))?;
        Console::new(fd).map_err(Error::io("watch console"))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // The bundle goes away too, later.
        let _ = std::fs::remove_file(&self.file);
    }
}

fn descriptor(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    rustix::net::recvmsg(
        stream.as_fd(),
        &mut [io::IoSliceMut::new(&mut name)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut messages = ancillary.drain();
    messages
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("no descriptor was sent"))
}

/// Our side of a terminal.
#[derive(Clone)]
pub(crate) struct Console(Arc<AsyncFd<OwnedFd>>);

impl Console {
    fn new(fd: OwnedFd) -> io::Result<Console> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: the descriptor is owned by the console and never exchanged.
        Ok(Console(Arc::new(unsafe { AsyncFd::register(fd) }?)))
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Reads what is there, once it is known to be readable.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, buffer)?))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }

    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(self.0.get_ref(), size)?)
    }
}

impl AsyncRead for Console {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let place = buffer.initialize_unfilled();
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *place)?));
            if let Ok(read) = read {
                return Poll::Ready(read.map(|count| buffer.advance(count)));
            }
        }
    }
}

impl AsyncWrite for Console {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
