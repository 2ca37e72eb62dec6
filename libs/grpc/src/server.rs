//! Listening on a unix socket.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::routing::get;
use berth_errors::chain;
use berth_lifecycle::{Tasks, hindrances};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

pub use crate::bind::bind;

use crate::Error;
use crate::calls::Calls;
use crate::refusals::Refusals;
use crate::socket::Socket;
use crate::tuning::SERVICES;

/// Binds `path` with `mode` and serves `routes` there until the token of `tasks` is cancelled,
/// then lets the calls that are under way end. Returns as soon as the socket answers.
///
/// # Errors
/// [`Error::Socket`] or [`Error::InUse`] when the socket could not be bound.
pub fn serve(path: &Path, mode: u32, routes: Routes, tasks: &Tasks) -> Result<(), Error> {
    let incoming = Incoming::new(bind(path, mode)?);
    let token = tasks.token();
    let routes = observed(routes, token.clone());
    let served = path.to_owned();
    tasks.spawn("grpc-server", async move {
        let incoming = incoming.map(|stream| stream.and_then(Socket::new));
        let server = Server::builder()
            .initial_stream_window_size(SERVICES.stream_window)
            .initial_connection_window_size(SERVICES.connection_window)
            .max_frame_size(SERVICES.frame)
            .http2_max_pending_accept_reset_streams(Some(SERVICES.resets))
            .http2_max_local_error_reset_streams(Some(SERVICES.resets))
            .layer(Calls::answered())
            .layer(Refusals)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, token.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(path = %served.display(), error = chain(&error), "serve");
        }
    });
    Ok(())
}

/// The routes, and those for who watches over the process.
fn observed(mut routes: Routes, ending: CancellationToken) -> Routes {
    const KIND: [(http::HeaderName, &str); 1] = [(CONTENT_TYPE, berth_metrics::CONTENT_TYPE)];
    let router = std::mem::take(routes.axum_router_mut());
    let all = || async { (KIND, berth_metrics::all().await) };
    let theirs = || async { (KIND, berth_metrics::as_containerd().await) };
    // Whoever reads this was answered.
    let healthy = || async { "ok\n" };
    *routes.axum_router_mut() = router
        .route("/metrics", get(all))
        .route("/v1/metrics", get(theirs))
        .route("/healthz", get(healthy))
        .route("/readyz", get(move || ready(ending.is_cancelled())));
    routes
}

/// Whether the process can do its work; if not, a line for each reason.
async fn ready(ending: bool) -> (StatusCode, String) {
    let mut reasons = hindrances().await;
    if ending {
        reasons.insert(0, "it ends, and takes no more calls".to_owned());
    }
    match reasons[..] {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

/// Connections whose peer is root or runs as we do. Others are closed, and logged.
#[derive(Debug)]
pub struct Incoming {
    listener: UnixListener,
    own_uid: u32,
}

impl Incoming {
    /// The connections of a listener.
    #[must_use]
    pub fn new(listener: UnixListener) -> Self {
        Self { listener, own_uid: rustix::process::geteuid().as_raw() }
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == 0 || peer.uid() == self.own_uid => true,
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), pid = peer.pid(), "refused a foreign peer");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "refused a peer without credentials");
                false
            }
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) if self.admits(&stream) => return Poll::Ready(Some(Ok(stream))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
