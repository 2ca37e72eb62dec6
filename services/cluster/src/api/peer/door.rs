//! The address at which other nodes ask, which can be changed while it is there.
//!
//! Another address is listened at before the earlier one is left, so that one that is taken leaves everything
//! as it was. Connections that are there go on to their end, which is not far.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_errors::chain;
use berth_grpc::{Calls, Refusals};
use berth_lifecycle::Tasks;
use berth_tls::{Files, Server, names};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Layer;

use super::refused::{Line, Refused};
use super::{AT_ONCE, Described};
use crate::inspect::Itself;
use crate::peers::nodes::PEERS;
use crate::{Error, Result};

/// The most connections at once. Further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// How long another node may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may be there then: twice as long as its answer is waited for.
const LIFE: Duration = Duration::from_secs(60);
/// Without descriptors none is accepted: they come back as connections end.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of all headers of a question.
const HEADERS: u32 = 16 << 10;

/// Where to listen, and what to show and to check there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `HOST:PORT`, of which a port of 0 leaves the choice to the kernel.
    pub address: String,
    /// The authorities of the cluster, and this node's certificate, which is for its name.
    pub files: Files,
}

/// The address for other nodes, if there is one.
pub struct Door {
    shared: Arc<Shared>,
    tasks: Tasks,
    open: Option<Open>,
}

struct Shared {
    own: Arc<Itself>,
    turns: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    refused: Refused,
}

struct Open {
    settings: Settings,
    address: Option<SocketAddr>,
    server: Arc<Server>,
    stop: CancellationToken,
}

impl Door {
    /// Of what `own` says. Nowhere yet.
    #[must_use]
    pub fn new(own: Arc<Itself>, tasks: Tasks) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let shared = Shared { own, turns, connections, refused: Refused::default() };
        Self { shared: Arc::new(shared), tasks, open: None }
    }

    /// Listens as `settings` say instead, or nowhere.
    ///
    /// # Errors
    /// [`Error::Listen`] and [`Error::Certificate`]; then everything stays.
    pub fn at(&mut self, settings: Option<&Settings>) -> Result<()> {
        if self.open.as_ref().map(|open| &open.settings) == settings {
            return Ok(());
        }
        if let (Some(settings), Some(open)) = (settings, &mut self.open)
            && open.settings.address == settings.address
        {
            open.server.show(settings.files.clone())?;
            open.settings = settings.clone();
            return Ok(());
        }
        let next = settings.map(|settings| self.listen(settings)).transpose()?;
        match &next {
            Some(open) => tracing::info!(address = ?open.address, "answers other nodes"),
            None => tracing::info!("answers no other nodes any more"),
        }
        if let Some(earlier) = std::mem::replace(&mut self.open, next) {
            earlier.stop.cancel();
        }
        Ok(())
    }

    /// Where it listens, which a port of 0 leaves to the kernel.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref()?.address
    }

    fn listen(&self, settings: &Settings) -> Result<Open> {
        let server = Arc::new(Server::new(settings.files.clone(), PEERS)?);
        let failed = |source| Error::Listen { address: settings.address.clone(), source };
        let listener = bind(&settings.address).map_err(failed)?;
        let address = listener.local_addr().ok();
        let stop = self.tasks.token().child_token();
        let accepting = accept(self.shared.clone(), listener, server.clone(), self.tasks.clone());
        let until = stop.clone();
        self.tasks.spawn("accept-peers", async move {
            until.run_until_cancelled(accepting).await;
        });
        Ok(Open { settings: settings.clone(), address, server, stop })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.stop.cancel();
        }
    }
}

fn bind(address: &str) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, server: Arc<Server>, tasks: Tasks) {
    let mut told = false;
    loop {
        // Nobody closes it.
        let Ok(room) = shared.connections.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Once, however long it lasts: others wait meanwhile.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "accept, other nodes wait until it is possible");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        told = false;
        let (shared, server, token) = (shared.clone(), server.clone(), tasks.token());
        tasks.spawn("peer-connection", async move {
            let ended = connection(&shared, &server, stream, from, token.clone()).await;
            // Others come while it waits to be told of.
            drop(room);
            let Err(error) = ended else { return };
            let line = shared.refused.line(from, chain(&*error), &token).await;
            if let Some(Line { from, reason, more }) = line {
                tracing::warn!(%from, error = reason, more, "connection of another node");
            }
        });
    }
}

/// One connection, from its handshake to its end.
async fn connection(
    shared: &Shared,
    server: &Server,
    stream: TcpStream,
    from: SocketAddr,
    token: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = server.accept(stream, HANDSHAKE).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let shown = shown.map(names).unwrap_or_default().join(", ");
    let (own, turns) = (shared.own.clone(), shared.turns.clone());
    let described = Described { own, turns, peer: format!("{shown} at {from}").into() };
    let service = Calls::answered().layer(Refusals.layer(described.server()));
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(u32::try_from(AT_ONCE).unwrap_or(u32::MAX))
        .max_header_list_size(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    let served = async {
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = token.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    match tokio::time::timeout(LIFE, served).await {
        // Whoever asked goes away as it likes.
        Ok(ended) => {
            if let Err(error) = ended {
                tracing::debug!(%from, error = chain(&error), "connection of another node ended");
            }
            Ok(())
        }
        Err(_) => Err(format!("it did not end within {LIFE:?}").into()),
    }
}
