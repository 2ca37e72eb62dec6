//! Where connections come from: listening, letting in, and no more at once than there is room for.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_grpc::Socket;
use berth_lifecycle::{Tasks, Turns};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// Without descriptors none is accepted: they come back as connections end.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection, as the kernel says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Of a unix socket: the process that connected, if it is to be seen from here,
    pub pid: Option<i32>,
    /// the user that it ran as,
    pub uid: Option<u32>,
    /// and the group.
    pub gid: Option<u32>,
    /// Of TCP: where it connected from.
    pub address: Option<SocketAddr>,
}

/// A listener.
pub trait Door: Send + Sync + 'static {
    /// A connection of which nothing is known.
    type Raw: Send;
    /// One of somebody who may ask.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Raw>> + Send;

    /// Who is there, before it is let in.
    fn peer(&self, raw: &Self::Raw) -> Peer;

    /// Lets whoever is there in, or not. That may take a while, and keeps no address taken.
    fn open(
        &self,
        raw: Self::Raw,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send + 'static;
}

/// Serves the connections of `door`, each in a task of the name, until it is told to `stop`; then nobody
/// listens there any more, and the connections go on. Further ones than there is `room` for wait to be
/// accepted.
pub async fn keep<D, S, F>(
    door: D,
    room: Turns,
    name: &'static str,
    stop: CancellationToken,
    tasks: Tasks,
    serve: S,
) where
    D: Door,
    S: Fn(D::Stream, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let serve = Arc::new(serve);
    let accepting = async {
        let mut told = false;
        loop {
            let turn = room.take().await;
            let raw = match door.accept().await {
                Ok(raw) => raw,
                Err(error) => {
                    // Once, however long it lasts: clients wait meanwhile.
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, name, "accept, clients wait until it is possible");
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            told = false;
            let (serve, peer) = (serve.clone(), door.peer(&raw));
            let opening = door.open(raw);
            tasks.spawn(name, async move {
                let _turn = turn;
                match opening.await {
                    Ok(stream) => serve(stream, peer).await,
                    Err(error) => tracing::warn!(%error, name, ?peer, "was not let in"),
                }
            });
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
}

/// Listens at `address`, `HOST:PORT`, of which a port of 0 leaves the choice to the kernel.
///
/// # Errors
/// What the kernel says.
pub fn tcp(address: &str) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

impl Door for UnixListener {
    type Raw = UnixStream;
    type Stream = Socket;

    async fn accept(&self) -> io::Result<UnixStream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }

    fn peer(&self, raw: &UnixStream) -> Peer {
        let Ok(of) = raw.peer_cred() else { return Peer::default() };
        Peer { pid: of.pid(), uid: Some(of.uid()), gid: Some(of.gid()), address: None }
    }

    fn open(&self, raw: UnixStream) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        // Who can connect may call: the socket's owner and mode decide.
        ready(Socket::new(raw))
    }
}

impl Door for TcpListener {
    type Raw = TcpStream;
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }

    fn peer(&self, raw: &TcpStream) -> Peer {
        Peer { address: raw.peer_addr().ok(), ..Peer::default() }
    }

    fn open(&self, raw: TcpStream) -> impl Future<Output = io::Result<TcpStream>> + Send + 'static {
        ready(raw.set_nodelay(true).map(|()| raw))
    }
}
