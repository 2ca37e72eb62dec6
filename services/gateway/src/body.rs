//! Bodies on their way to clients: frames are handed on, never looked into.

use std::pin::Pin;
use std::task::{Context, Poll};

use berth_grpc::Answer;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// The body of a response to a client.
#[derive(Debug)]
pub enum Inbound {
    /// A service's. What cuts it off is a status for the client too, instead of a bare reset.
    Relayed(Answer),
    /// The gateway's own.
    Own(tonic::body::Body),
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Relayed(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| Ok(frame.unwrap_or_else(cut_off))))
            }
            Self::Own(body) => Pin::new(body).poll_frame(cx),
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

/// The trailers that end a response with a status.
fn cut_off(status: Status) -> Frame<Bytes> {
    tracing::debug!(code = ?status.code(), error = status.message(), "ended a response");
    let mut headers = HeaderMap::new();
    // Fails only for a status with metadata of its own, which this has not.
    let added = status.add_header(&mut headers);
    debug_assert!(added.is_ok());
    Frame::trailers(headers)
}
