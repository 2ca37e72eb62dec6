//! The clients' side: connections of the public sockets, and one decision per call.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use berth_config::{ByteSize, MAX_MESSAGE_SIZE, Plugins};
use berth_errors::chain;
use berth_grpc::{Bounded, Calls, Counted, NODE_MESSAGE};
use berth_lifecycle::{Tasks, Turns};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument;

use crate::api::Own;
use crate::authority::Names;
use crate::body::{Inbound, Outbound};
use crate::door::{self, Door, Peer};
use crate::route::{self, Route};
use crate::upstreams::Upstreams;
use crate::window::WINDOW;

// What clients may be allowed has to find its way to the services.
const _: () = assert!(MAX_MESSAGE_SIZE < NODE_MESSAGE as u64);

/// How large messages of the clients of one socket may be.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    taken: u32,
    sent: u32,
}

impl Messages {
    /// As they are configured: those that are taken, and those that are sent.
    #[must_use]
    pub fn new(taken: ByteSize, sent: ByteSize) -> Self {
        let bound = |size: ByteSize| u32::try_from(size.bytes()).unwrap_or(u32::MAX);
        Self { taken: bound(taken), sent: bound(sent) }
    }
}

/// What every connection needs.
pub struct Front {
    upstreams: Upstreams,
    own: Own,
    /// Services that nobody can call.
    left_out: Vec<&'static str>,
    calls: Calls,
    connections: Turns,
}

impl Front {
    /// Calls go to `upstreams` or to the gateway's `own` services; further connections than
    /// `max_connections` wait to be accepted. What is left out of `plugins` answers nobody.
    #[must_use]
    pub fn new(
        upstreams: Upstreams,
        own: Own,
        max_connections: usize,
        plugins: &Plugins,
    ) -> Arc<Self> {
        let connections = Turns::new(max_connections);
        let left_out = route::left_out(plugins);
        Arc::new(Self { upstreams, own, left_out, calls: Calls::of_clients(), connections })
    }

    /// So many connections at once from now on. Those that are there go on.
    pub fn set_max_connections(&self, max_connections: usize) {
        self.connections.set(max_connections);
    }

    /// Accepts connections until it is told to stop.
    pub async fn accept<D: Door>(
        self: Arc<Self>,
        door: D,
        messages: Messages,
        stop: CancellationToken,
        tasks: Tasks,
    ) {
        let (room, of) = (self.connections.clone(), tasks.clone());
        let serve = move |stream, peer| self.clone().connection(stream, peer, messages, of.clone());
        door::keep(door, room, "connection", stop, tasks, serve).await;
    }

    async fn connection<S>(self: Arc<Self>, stream: S, peer: Peer, messages: Messages, tasks: Tasks)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Peer { pid, uid, gid, address } = peer;
        let address = address.map(tracing::field::display);
        tracing::debug!(pid, uid, gid, address, "client");
        let service =
            hyper::service::service_fn(move |request| self.clone().call(request, peer, messages));
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
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer, messages: Messages) -> Answer {
        let Messages { taken, sent } = messages;
        Box::pin(self.clone().calls.count(request, |request| {
            let span = span(&request, peer);
            let answer = async move {
                tracing::debug!("call");
                let (head, body) = request.into_parts();
                let (body, mut refusal) = Bounded::new(body, taken);
                let answer = self.answer(Request::from_parts(head, body));
                let answered = refusal.or(answer).await.unwrap_or_else(|status| {
                    // A status in the headers of a response without body: "trailers-only".
                    status.into_http::<tonic::body::Body>().map(Inbound::Own)
                });
                Ok(answered.map(|body| Outbound::new(body, sent, refusal)))
            };
            answer.instrument(span)
        }))
    }

    async fn answer(
        &self,
        request: Request<Bounded<Incoming>>,
    ) -> Result<Response<Inbound>, Status> {
        match route::of(request.uri().path(), &self.left_out) {
            Ok(Route::Service(service, lane)) => {
                let channel = self.upstreams.of(service).map_err(berth_grpc::status)?.lane(lane);
                channel.relay(request).await.map(|answer| answer.map(Inbound::Relayed))
            }
            Ok(Route::Own) => Ok(self.own.call(request).await.map(Inbound::Own)),
            Err(error) => Err(berth_grpc::status(error)),
        }
    }
}

/// What the log says of all that is done for a call, if anybody wants to know.
fn span(request: &Request<Incoming>, peer: Peer) -> tracing::Span {
    let Peer { pid, uid, gid, address } = peer;
    let (method, address) = (request.uri().path(), address.map(tracing::field::display));
    tracing::debug_span!("call", method, pid, uid, gid, address)
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Counted<Outbound>>, Infallible>> + Send>>;
