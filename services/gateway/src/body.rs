//! Bodies on their way to clients. Frames are handed on; of messages nothing is known but their
//! lengths, for which there is a bound.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use berth_grpc::{Answer, Lengths, Refusal};
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

/// The same, up to a message that is too long for the client, or until its request is refused for one.
#[derive(Debug)]
pub struct Outbound {
    /// None after its end before its time: dropping it takes the call back.
    body: Option<Inbound>,
    lengths: Lengths,
    refusal: Refusal,
    /// What the end is to say then.
    last: Option<Status>,
}

impl Outbound {
    /// A body that ends before a message of more than `most` bytes.
    pub fn new(body: Inbound, most: u32, refusal: Refusal) -> Self {
        Self { body: Some(body), lengths: Lengths::new(most), refusal, last: None }
    }

    fn end(&mut self, status: Status) {
        (self.body, self.last) = (None, Some(status));
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // Before the body, which is broken off then.
        if let Poll::Ready(status) = self.refusal.poll(cx) {
            self.end(status);
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(self.last.take().map(|status| Ok(cut_off(status))));
        };
        let polled = ready!(Pin::new(body).poll_frame(cx));
        let Some(frame) = polled.transpose()? else { return Poll::Ready(None) };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        if let Some(length) = self.lengths.pass(&mut data) {
            let status = self.lengths.not_sent(length);
            self.end(status);
            if data.is_empty() {
                return self.poll_frame(cx);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().map_or(self.last.is_none(), Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
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
