//! The body of an answer. If the service goes away or the caller's deadline passes before its end,
//! the caller is told by name.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until};
use tonic::Status;

use super::call::Call;

/// An answer's body. An error is its last frame.
#[derive(Debug)]
pub struct Answer {
    /// `None` after an error: dropping it resets the service's stream.
    body: Option<Incoming>,
    call: Call,
    /// Set when the body is first waited for; most come with their heads.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Dropped with the answer, which ends the request.
    over: Option<oneshot::Sender<()>>,
}

impl Answer {
    pub(super) fn new(body: Incoming, call: Call, over: Option<oneshot::Sender<()>>) -> Self {
        Self { body: Some(body), call, deadline: None, over }
    }

    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body = None;
        self.over = None;
        Poll::Ready(Some(Err(status)))
    }

    fn broken(&self, error: hyper::Error) -> Status {
        if is_reset_by_service(&error) {
            return Status::from_error(error.into());
        }
        self.call.broken_off(error).into_status()
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.call.deadline else { return Poll::Pending };
        self.deadline.get_or_insert_with(|| Box::pin(sleep_until(at))).as_mut().poll(cx)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let status = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => self.broken(error),
            Poll::Pending => {
                ready!(self.poll_deadline(cx));
                self.call.late().into_status()
            }
        };
        self.end(status)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// Whether the service reset this one stream: its reason tells more than we know, and is handed on.
fn is_reset_by_service(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            return h2.is_reset() && h2.is_remote();
        }
        cause = inner.source();
    }
    false
}
