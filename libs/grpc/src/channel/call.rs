//! One call on its way: what errors say of it, and what is held until it has ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use h2::RecvStream;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Peer;
use super::connection::Link;
use super::error::Error;
use super::outgoing::Outgoing;
use super::upload::Upload;
use crate::deadline;

/// What errors say of a call, and when its caller stops waiting.
#[derive(Clone, Debug)]
pub(super) struct Call {
    peer: Arc<Peer>,
    method: PathAndQuery,
    /// When its caller stops waiting.
    pub(super) deadline: Option<Instant>,
}

/// What is held until a call has ended.
#[derive(Debug)]
pub(super) struct Held {
    _under_way: Arc<()>,
    /// Ends the request, if it goes on.
    _upload: Option<oneshot::Sender<()>>,
}

impl Call {
    pub(super) fn new(peer: Arc<Peer>, method: PathAndQuery, deadline: Option<Instant>) -> Self {
        Self { peer, method, deadline }
    }

    /// Sends a request over the connection that is there, or the next one.
    pub(super) async fn send(
        &self,
        request: Request<Outgoing>,
    ) -> Result<(Response<RecvStream>, Held), Error> {
        let connection = &self.peer.connection;
        let (head, body) = request.into_parts();
        let mut head = Request::from_parts(head, ());
        let Link { mut sender, under_way } = match connection.current() {
            Some(link) => link,
            None => self.connect(&mut head).await?,
        };
        let is_whole = body.is_end_stream();
        let (answer, to) =
            sender.send_request(head, is_whole).map_err(|error| self.broken_off(error))?;
        let rest = if is_whole { None } else { Upload::begin(body, to).await };
        let upload = rest.map(|mut rest| {
            let call = rest.until_dropped();
            connection.spawn("upload", rest);
            call
        });
        let held = Held { _under_way: under_way, _upload: upload };
        let response = answer.await.map_err(|error| self.broken_off(error))?;
        if self.deadline.is_some() && has_timed_out(response.headers()) {
            return Err(self.late());
        }
        Ok((response, held))
    }

    /// Waits for the service.
    async fn connect(&self, head: &mut Request<()>) -> Result<Link, Error> {
        let started = Instant::now();
        let until = started + self.peer.wait();
        let until = self.deadline.map_or(until, |deadline| deadline.min(until));
        let made = self.peer.connection.make(until).await;
        let link = made.map_err(|source| self.away(started, source))?;
        if let Some(deadline) = self.deadline {
            deadline::shorten(head.headers_mut(), deadline);
        }
        Ok(link)
    }

    fn away(&self, started: Instant, source: io::Error) -> Error {
        Error::Away {
            service: self.peer.service.clone(),
            advice: self.peer.advice.clone(),
            path: self.peer.connection.path().to_owned(),
            waited: Duration::from_millis(started.elapsed().as_millis() as u64),
            source,
        }
    }

    /// The connection ended while the call was under way.
    pub(super) fn broken_off(&self, source: h2::Error) -> Error {
        let (service, method) = (self.peer.service.clone(), self.method.to_string());
        let (path, advice) = (self.peer.connection.path().to_owned(), self.peer.advice.clone());
        Error::BrokenOff { service, path, method, advice, source: Box::new(source) }
    }

    /// The caller's deadline passed.
    pub(super) fn late(&self) -> Error {
        let (service, method) = (self.peer.service.clone(), self.method.to_string());
        Error::Late { service, path: self.peer.connection.path().to_owned(), method }
    }
}

/// The service's library counts the same deadline. If it is the first to see it pass, it ends the
/// call as if the caller had cancelled it.
fn has_timed_out(head: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| head.get(name).is_some_and(|found| found == value);
    says("grpc-status", "1") && says("grpc-message", "Timeout%20expired")
}
