//! Bodies on their way through the gateway: frames are handed on, never looked into.

use std::pin::Pin;
use std::task::{Context, Poll};

use berth_errors::Coded;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Error;

/// Any body's error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request to a service.
#[derive(Debug)]
pub enum Outbound {
    /// A client's, reset when the response is over.
    Relayed(Incoming, oneshot::Receiver<()>),
    /// Of a call that the gateway makes itself.
    Own(tonic::body::Body),
}

/// The body of a response to a client.
pub enum Inbound {
    /// A service's.
    Relayed(Relay),
    /// The gateway's own.
    Own(tonic::body::Body),
}

/// A service's response body. If the service goes away or the caller's deadline passes before its
/// end, the caller gets a status instead of a bare reset.
pub struct Relay {
    body: Option<Incoming>,
    call: Call,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Dropped with the response: a client that has its answer may never end its request, and h2
    /// keeps a stream that is still sent to.
    over: Option<oneshot::Sender<()>>,
}

/// Which call a body belongs to.
#[derive(Clone, Debug)]
pub struct Call {
    /// The service.
    pub service: &'static str,
    /// Path of the call.
    pub path: http::uri::PathAndQuery,
}

impl Relay {
    /// The rest of a response.
    #[must_use]
    pub fn new(
        body: Incoming,
        call: Call,
        deadline: Option<Instant>,
        over: Option<oneshot::Sender<()>>,
    ) -> Self {
        let deadline = deadline.map(|at| Box::pin(sleep_until(at)));
        Self { body: Some(body), call, deadline, over }
    }

    /// Ends the response with a status. Dropping the body resets the service's stream.
    fn end(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.body = None;
        self.over = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(error)))))
    }

    fn broken(&mut self, source: hyper::Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if berth_grpc::is_reset_by_service(&source) {
            self.body = None;
            return Poll::Ready(Some(Err(source.into())));
        }
        let Call { service, path } = &self.call;
        let error = Error::BrokenOff { service, method: path.to_string(), source };
        self.end(error)
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => return self.broken(error),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let method = self.call.path.to_string();
                self.end(Error::Late { method })
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Relayed(body, over) => match Pin::new(body).poll_frame(cx) {
                Poll::Pending if Pin::new(over).poll(cx).is_ready() => {
                    Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())))
                }
                polled => polled.map_err(Into::into),
            },
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Relayed(body, _) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Relayed(body, _) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Relayed(body) => Pin::new(body).poll_frame(cx),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Relayed(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Relayed(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

fn trailers(error: Error) -> HeaderMap {
    tracing::debug!(code = ?error.code(), error = berth_errors::chain(&error), "ended a response");
    let mut headers = HeaderMap::new();
    // Fails only for a status with metadata of its own, which this has not.
    let added = berth_grpc::status(error).add_header(&mut headers);
    debug_assert!(added.is_ok());
    headers
}
