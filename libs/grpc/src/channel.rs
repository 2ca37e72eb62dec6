//! Calling another service.
//!
//! While nobody answers, a call waits for its own deadline or [`PEER_WAIT`], whichever is sooner;
//! then it is UNAVAILABLE and the message names the service. A call that a connection gave back
//! unsent goes to the next connection; one that was sent is never repeated: whether it was carried
//! out is not known. [`broke_off`] tells such an answer, for callers whose call may be repeated.

mod body;
mod error;

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;

use crate::connection::{Connection, Tuning};
use crate::deadline;
use body::Answer;
use error::Error;

pub use body::is_reset_by_service;

/// How long a call waits for a peer that is being restarted.
pub const PEER_WAIT: Duration = Duration::from_secs(10);

const TUNING: Tuning = Tuning {
    stream_window: 4 << 20,
    connection_window: 64 << 20,
    frame: 1 << 20,
    headers: 1 << 20,
    streams: 1 << 16,
    resets: crate::server::RESETS,
};

/// A way to one service, for the generated clients. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Peer>);

#[derive(Debug)]
struct Peer {
    name: String,
    wait: Duration,
    connection: Connection<Body>,
}

/// A channel to the service on a unix socket. Nothing is connected until the first call, and a
/// lost connection is made again by the next one.
#[must_use]
pub fn channel(path: &Path) -> Channel {
    Channel::waiting(path, PEER_WAIT)
}

/// Whether a call was cut off after it was sent.
#[must_use]
pub fn broke_off(status: &Status) -> bool {
    let cause = std::error::Error::source(status).and_then(|cause| cause.downcast_ref::<Error>());
    matches!(cause, Some(Error::BrokenOff { .. }))
}

impl Channel {
    fn waiting(path: &Path, wait: Duration) -> Self {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let connection = Connection::new(path.to_owned(), TUNING, None);
        Self(Arc::new(Peer { name, wait, connection }))
    }
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = self.0.clone();
        Box::pin(async move {
            let deadline = deadline::of(request.headers()).map_err(crate::status)?;
            let method = request.uri().path().to_owned();
            let sent = peer.send(request, deadline, &method);
            let answered = match deadline {
                None => sent.await,
                Some(at) => match timeout_at(at, sent).await {
                    Ok(answered) => answered,
                    Err(_) => Err(Error::Late { service: peer.name.clone(), method }),
                },
            };
            answered.map_err(Error::into_status)
        })
    }
}

impl Peer {
    /// Sends a request, over as many connections as give it back unsent.
    async fn send(
        &self,
        request: Request<Body>,
        deadline: Option<Instant>,
        method: &str,
    ) -> Result<Response<Answer>, Error> {
        let started = Instant::now();
        let until = started + self.wait;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let away = |source| self.away(started, source);
        let mut request = addressed(request);
        loop {
            let mut sender = match self.connection.current() {
                Some(sender) => sender,
                None => self.connection.make(until).await.map_err(away)?,
            };
            if let Some(deadline) = deadline {
                deadline::shorten(request.headers_mut(), deadline);
            }
            let mut failure = match sender.try_send_request(request).await {
                Ok(response) => {
                    let (service, method) = (self.name.clone(), method.to_owned());
                    return Ok(response.map(|body| Answer::new(body, service, method)));
                }
                Err(failure) => failure,
            };
            match failure.take_message() {
                Some(unsent) if Instant::now() < until => request = unsent,
                // It had a connection that has just ended; a wait was not asked for.
                Some(_) => return Err(away(io::Error::other(failure.into_error()))),
                None => {
                    let (service, method) = (self.name.clone(), method.to_owned());
                    return Err(Error::BrokenOff { service, method, source: failure.into_error() });
                }
            }
        }
    }

    fn away(&self, started: Instant, source: io::Error) -> Error {
        Error::Away {
            service: self.name.clone(),
            path: self.connection.path().to_owned(),
            waited: Duration::from_millis(started.elapsed().as_millis() as u64),
            source,
        }
    }
}

/// Names the host as clients on a unix socket do; nobody resolves it.
fn addressed(mut request: Request<Body>) -> Request<Body> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(http::uri::Authority::from_static("localhost"));
    // Cannot fail: all three parts are there.
    *request.uri_mut() = http::Uri::from_parts(parts).unwrap_or_default();
    request
}

#[cfg(test)]
mod tests;
