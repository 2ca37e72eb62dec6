//! Listening on a unix socket.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use berth_errors::chain;
use berth_lifecycle::Tasks;
use http::header::CONTENT_TYPE;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::transport::Server;

use crate::Error;
use crate::calls::Calls;
use crate::refusals::Refusals;
use crate::socket::Socket;
use crate::tuning::SERVICES;

/// The longest path that fits a socket address, with its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// Binds `path` with `mode` and serves `routes` there until the token of `tasks` is cancelled,
/// then lets the calls that are under way end. Returns as soon as the socket answers.
///
/// # Errors
/// [`Error::Socket`] or [`Error::InUse`] when the socket could not be bound.
pub fn serve(path: &Path, mode: u32, routes: Routes, tasks: &Tasks) -> Result<(), Error> {
    let incoming = Incoming::new(bind(path, mode)?);
    let token = tasks.token();
    let served = path.to_owned();
    tasks.spawn("grpc-server", async move {
        let incoming = incoming.map(|stream| stream.and_then(Socket::new));
        let server = Server::builder()
            .initial_stream_window_size(SERVICES.stream_window)
            .initial_connection_window_size(SERVICES.connection_window)
            .max_frame_size(SERVICES.frame)
            .http2_max_pending_accept_reset_streams(Some(SERVICES.resets))
            .http2_max_local_error_reset_streams(Some(SERVICES.resets))
            .layer(Calls::new())
            .layer(Refusals)
            .add_routes(with_metrics(routes))
            .serve_with_incoming_shutdown(incoming, token.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(path = %served.display(), error = chain(&error), "serve");
        }
    });
    Ok(())
}

/// The routes, and one for whoever collects metrics.
fn with_metrics(mut routes: Routes) -> Routes {
    let router = std::mem::take(routes.axum_router_mut());
    let told = || async { ([(CONTENT_TYPE, berth_metrics::CONTENT_TYPE)], berth_metrics::text()) };
    *routes.axum_router_mut() = router.route("/metrics", axum::routing::get(told));
    routes
}

/// Binds a unix socket that nobody but `mode` allows can ever connect to, in place of what a
/// process that is gone left behind.
///
/// # Errors
/// [`Error::Socket`], or [`Error::InUse`] when a living process answers there.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, Error> {
    let failed = |step| move |source| Error::Socket { step, path: path.to_owned(), source };
    let fresh = fresh_name(path);
    if fresh.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        let long = io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is longer than the 107 bytes that a socket's address holds",
        );
        return Err(failed("bind")(long));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Error::InUse(path.to_owned()));
    }
    remove_if_there(&fresh).map_err(failed("clear the way for"))?;
    let listener = UnixListener::bind(&fresh).map_err(failed("bind"))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    std::fs::rename(&fresh, path).map_err(failed("move into place"))?;
    Ok(listener)
}

/// Beside the socket: the socket takes its place when it has its mode.
fn fresh_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
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
