//! The user's side.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::{Error, GONE, HERE, Token};

/// Claims the descriptor that stands behind `token` at the side socket.
///
/// # Errors
/// [`Error::Gone`] when the token is unknown, used or too old; [`Error::Deadline`];
/// [`Error::Socket`] and [`Error::Ended`] when the owner is away or ends meanwhile.
pub async fn claim(path: &Path, token: &Token, deadline: Duration) -> Result<OwnedFd, Error> {
    tokio::time::timeout(deadline, ask(path, token))
        .await
        .unwrap_or_else(|_| Err(Error::Deadline { path: path.to_owned(), deadline }))
}

async fn ask(path: &Path, token: &Token) -> Result<OwnedFd, Error> {
    let failed = |step| move |source| Error::Socket { step, path: path.to_owned(), source };
    let peer = |problem| Error::Peer { path: path.to_owned(), problem };
    let mut stream =
        UnixStream::connect(path).await.map_err(failed("connect to descriptor socket"))?;
    let owner = stream.peer_cred().map_err(failed("identify the owner of"))?.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(peer("its owner is neither root nor we"));
    }
    stream.write_all(token.as_str().as_bytes()).await.map_err(failed("send a token to"))?;
    match receive(&stream).await.map_err(failed("receive a descriptor from"))? {
        (Some(HERE), Some(fd)) => Ok(fd),
        (Some(GONE), _) => Err(Error::Gone(path.to_owned())),
        (None, _) => Err(Error::Ended(path.to_owned())),
        _ => Err(peer("the answer came without a descriptor")),
    }
}

/// The answer and what came with it. No answer when the other side has hung up.
async fn receive(stream: &UnixStream) -> io::Result<(Option<u8>, Option<OwnedFd>)> {
    stream
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut answer = [0];
            let mut parts = [IoSliceMut::new(&mut answer)];
            let received = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let fd = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            Ok(((received.bytes > 0).then_some(answer[0]), fd))
        })
        .await
}
