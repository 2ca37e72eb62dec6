//! The body of an answer: a connection that ends in the middle is UNAVAILABLE by name.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

use super::error::Error;

/// An answer's body.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    service: String,
    method: String,
}

impl Answer {
    pub(super) fn new(body: Incoming, service: String, method: String) -> Self {
        Self { body, service, method }
    }

    fn failed(&self, error: hyper::Error) -> Status {
        if is_reset_by_service(&error) {
            return Status::from_error(error.into());
        }
        let (service, method) = (self.service.clone(), self.method.clone());
        Error::BrokenOff { service, method, source: error }.into_status()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map_err(|error| self.failed(error))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether the service reset this one stream: its reason tells more than we know, and is handed on.
#[must_use]
pub fn is_reset_by_service(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            return h2.is_reset() && h2.is_remote();
        }
        cause = inner.source();
    }
    false
}
