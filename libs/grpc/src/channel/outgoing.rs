//! The body of a request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;

/// Any body's error.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body. None is boxed on its way that was not before.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Of a call that somebody else made. It is reset when the answer is over: a client that has
    /// its answer may never end its request, and h2 keeps a stream that is still sent to.
    Relayed(Incoming, oneshot::Receiver<()>),
    /// Of a call of our own.
    Own(tonic::body::Body),
}

impl Body for Outgoing {
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
