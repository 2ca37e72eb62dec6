//! The body of a request: where it comes from.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use crate::lengths::Bounded;

/// Any body's error.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body. None is boxed on its way that was not before.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Of a call that somebody else made.
    Relayed(Bounded<Incoming>),
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
}
