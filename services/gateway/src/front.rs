//! The clients' side: connections of the public sockets, and one decision per call.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use berth_errors::chain;
use berth_grpc::Socket;
use berth_lifecycle::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::api::Own;
use crate::authority::Names;
use crate::body::Inbound;
use crate::route::{self, Route};
use crate::upstreams::Upstreams;
use crate::window::WINDOW;

/// Where connections of clients come from.
pub trait Door: Send + Sync + 'static {
    /// A connection of which nothing is known.
    type Raw: Send;
    /// One of a client that may call.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Raw>> + Send;

    /// Lets whoever is there in, or not.
    fn open(&self, raw: Self::Raw) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for UnixListener {
    type Raw = UnixStream;
    type Stream = Socket;

    async fn accept(&self) -> io::Result<UnixStream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }

    async fn open(&self, raw: UnixStream) -> io::Result<Socket> {
        // Who can connect may call: the socket's owner and mode decide. That is for the log.
        if let Ok(peer) = raw.peer_cred() {
            tracing::debug!(pid = peer.pid(), uid = peer.uid(), gid = peer.gid(), "client");
        }
        Socket::new(raw)
    }
}

/// What every connection needs.
pub struct Front {
    upstreams: Upstreams,
    own: Own,
    connections: Arc<Semaphore>,
}

impl Front {
    /// Calls go to `upstreams` or to the gateway's `own` services; further connections than
    /// `max_connections` wait to be accepted.
    #[must_use]
    pub fn new(upstreams: Upstreams, own: Own, max_connections: usize) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { upstreams, own, connections })
    }

    /// Accepts connections until the tasks are told to end.
    pub async fn accept<D: Door>(self: Arc<Self>, door: D, tasks: Tasks) {
        let door = Arc::new(door);
        let token = tasks.token();
        let accepting = async {
            loop {
                // Never closed, hence never an error.
                let Ok(permit) = self.connections.clone().acquire_owned().await else { return };
                let stream = match door.accept().await {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "accept a connection");
                        // Out of descriptors: they come back as connections end.
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let (this, door, of) = (self.clone(), door.clone(), tasks.clone());
                tasks.spawn("connection", async move {
                    let _permit = permit;
                    match door.open(stream).await {
                        Ok(stream) => this.connection(stream, of).await,
                        Err(error) => tracing::warn!(%error, "a client was not let in"),
                    }
                });
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = accepting => {}
        }
    }

    async fn connection<S>(self: Arc<Self>, stream: S, tasks: Tasks)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = hyper::service::service_fn(move |request| self.clone().call(request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .initial_stream_window_size(WINDOW.stream_window)
            .initial_connection_window_size(WINDOW.connection_window)
            .max_frame_size(WINDOW.frame)
            .max_header_list_size(WINDOW.headers)
            .max_concurrent_streams(WINDOW.streams)
            .max_pending_accept_reset_streams(WINDOW.resets)
            .max_local_error_reset_streams(WINDOW.resets)
            .serve_connection(TokioIo::new(Names::new(stream)), service);
        let mut connection = std::pin::pin!(connection);
        let token = tasks.token();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = token.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = chain(&error), "client connection ended");
        }
    }

    /// Boxed: hyper keeps one per call under way, and a call to a service is large.
    fn call(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        Box::pin(async move {
            let answered = match route::of(request.uri().path()) {
                Ok(Route::Service(service, lane)) => {
                    let channel = self.upstreams.of(service).lane(lane);
                    channel.relay(request).await.map(|answer| answer.map(Inbound::Relayed))
                }
                Ok(Route::Own) => Ok(self.own.call(request).await.map(Inbound::Own)),
                Err(error) => Err(berth_grpc::status(error)),
            };
            Ok(answered.unwrap_or_else(|status| {
                // A status in the headers of a response without body: "trailers-only".
                status.into_http::<tonic::body::Body>().map(Inbound::Own)
            }))
        })
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Inbound>, Infallible>> + Send>>;
