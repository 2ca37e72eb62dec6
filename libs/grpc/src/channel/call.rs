//! One call, from its request to the head of its answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::Peer;
use super::answer::Answer;
use super::error::Error;
use super::outgoing::Outgoing;
use crate::deadline;

/// What errors say of a call, and when its caller stops waiting.
#[derive(Clone, Debug)]
pub(super) struct Call {
    peer: Arc<Peer>,
    method: PathAndQuery,
    pub(super) deadline: Option<Instant>,
}

/// Sends a request and waits for the head of its answer. `over` is dropped with the answer.
pub(super) async fn call(
    peer: &Arc<Peer>,
    mut request: Request<Outgoing>,
    over: Option<oneshot::Sender<()>>,
) -> Result<Response<Answer>, Status> {
    let deadline = deadline::of(request.headers()).map_err(crate::status)?;
    let method = address(request.uri_mut());
    let call = Call { peer: peer.clone(), method, deadline };
    let sent = call.send(request);
    let answered = match deadline {
        None => sent.await,
        Some(at) => timeout_at(at, sent).await.unwrap_or_else(|_| Err(call.late())),
    };
    match answered {
        Ok(response) => Ok(response.map(|body| Answer::new(body, call, over))),
        Err(error) => Err(error.into_status()),
    }
}

impl Call {
    /// Sends a request, over as many connections as give it back unsent.
    async fn send(&self, mut request: Request<Outgoing>) -> Result<Response<Incoming>, Error> {
        let connection = &self.peer.connection;
        let started = Instant::now();
        let until = started + self.peer.wait;
        let until = self.deadline.map_or(until, |deadline| deadline.min(until));
        let away = |source| self.away(started, source);
        loop {
            let mut sender = match connection.current() {
                Some(sender) => sender,
                None => {
                    let made = connection.make(until).await.map_err(away)?;
                    if let Some(deadline) = self.deadline {
                        deadline::shorten(request.headers_mut(), deadline);
                    }
                    made
                }
            };
            let mut failure = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            match failure.take_message() {
                Some(unsent) if Instant::now() < until => request = unsent,
                // It had a connection that has just ended; a wait was not asked for.
                Some(_) => return Err(away(io::Error::other(failure.into_error()))),
                None => return Err(self.broken_off(failure.into_error())),
            }
        }
    }

    fn away(&self, started: Instant, source: io::Error) -> Error {
        Error::Away {
            service: self.peer.service.clone(),
            path: self.peer.connection.path().to_owned(),
            waited: Duration::from_millis(started.elapsed().as_millis() as u64),
            source,
        }
    }

    /// The connection ended while the call was under way.
    pub(super) fn broken_off(&self, source: hyper::Error) -> Error {
        let (service, method) = (self.peer.service.clone(), self.method.to_string());
        Error::BrokenOff { service, method, source }
    }

    /// The caller's deadline passed.
    pub(super) fn late(&self) -> Error {
        Error::Late { service: self.peer.service.clone(), method: self.method.to_string() }
    }
}

/// Names one host, whatever the caller called it: clients on a unix socket name all kinds of them,
/// and nobody resolves it. Returns the path.
fn address(uri: &mut Uri) -> PathAndQuery {
    let path = uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("localhost"));
    parts.path_and_query = Some(path.clone());
    // Cannot fail: all three parts are there.
    *uri = Uri::from_parts(parts).unwrap_or_default();
    path
}
