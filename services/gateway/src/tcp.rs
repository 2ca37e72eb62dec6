//! Clients over TCP: with certificates on both sides, or not at all.
//!
//! The files are looked at when a client comes ([`berth_tls`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use berth_config::Tcp;
use berth_tls::{Files, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use crate::Error;
use crate::door::{self, Door, Peer};

/// How long a client may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A listener with what clients are shown and checked against.
pub struct Secured {
    listener: TcpListener,
    server: Server,
}

impl Secured {
    /// Listens at the address of `tcp`.
    ///
    /// # Errors
    /// [`Error::Tcp`] when it is taken, [`Error::Certificate`] for a file that cannot be used.
    pub fn bind(tcp: &Tcp) -> Result<Self, Error> {
        let server = Server::new(files(tcp), "clients over TCP")?;
        let failed = |source| Error::Tcp { address: tcp.address.clone(), source };
        let listener = door::tcp(&tcp.address).map_err(failed)?;
        Ok(Self { listener, server })
    }

    /// Shows and checks what `tcp` names from now on, at the address where it listens.
    ///
    /// # Errors
    /// [`Error::Certificate`] for a file that cannot be used; then the earlier ones stay.
    pub fn show(&self, tcp: &Tcp) -> Result<(), Error> {
        Ok(self.server.show(files(tcp))?)
    }

    /// Where it listens, which a port of 0 leaves to the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }
}

fn files(tcp: &Tcp) -> Files {
    Files { ca: tcp.ca.clone(), cert: tcp.cert.clone(), key: tcp.key.clone() }
}

impl Door for Arc<Secured> {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;

    async fn accept(&self) -> io::Result<TcpStream> {
        Door::accept(&self.listener).await
    }

    fn peer(&self, raw: &TcpStream) -> Peer {
        self.listener.peer(raw)
    }

    fn open(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + Send + 'static {
        let without_delay = raw.set_nodelay(true);
        let accepting = self.server.accept(raw, HANDSHAKE);
        async move {
            without_delay?;
            accepting.await
        }
    }
}
