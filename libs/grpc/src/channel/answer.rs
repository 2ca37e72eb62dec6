//! The body of an answer. If the service goes away or the caller's deadline passes before its end,
//! the caller is told by name.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep_until};
use tonic::Status;

use super::call::{Call, Held};

/// An answer's body. An error is its last frame.
#[derive(Debug)]
pub struct Answer {
    /// `None` after the end: dropping it resets the stream, if the service still sends.
    open: Option<Open>,
    call: Call,
    /// Set when the body is first waited for; most come with their heads.
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Open {
    body: RecvStream,
    read: bool,
    _held: Held,
}

impl Answer {
    pub(super) fn new(body: RecvStream, call: Call, held: Held) -> Self {
        Self { open: Some(Open { body, read: false, _held: held }), call, deadline: None }
    }

    /// Why the answer ends; `None` if that is its end.
    fn broken(&self, error: h2::Error) -> Option<Status> {
        match error.reason() {
            // The service has said all that it wanted to, and does not want to hear the rest.
            Some(Reason::NO_ERROR) if error.is_reset() => None,
            // Its reason tells more than we know.
            _ if error.is_reset() && error.is_remote() => Some(Status::from_error(error.into())),
            _ => Some(self.call.broken_off(error).into_status()),
        }
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
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        let last = match open.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => self.broken(error),
            Poll::Ready(None) => None,
            Poll::Pending => {
                ready!(self.poll_deadline(cx));
                Some(self.call.late().into_status())
            }
        };
        self.open = None;
        Poll::Ready(last.map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.body.is_end_stream())
    }
}

impl Open {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.read {
            if let Some(data) = ready!(self.body.poll_data(cx)?) {
                // What is handed on is no longer ours to hold back.
                self.body.flow_control().release_capacity(data.len())?;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.read = true;
        }
        let trailers = ready!(self.body.poll_trailers(cx)?);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
