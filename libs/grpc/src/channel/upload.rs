//! The body of a request on its way to the service.
//!
//! What is there when the call begins goes out with its head, in one write: of a small call that is
//! all. The rest of a stream is sent by a task of its own, as fast as the service takes it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::sync::oneshot;

use super::outgoing::Outgoing;

/// The sending of one body. Dropped before its end it resets the stream.
pub(super) struct Upload {
    body: Outgoing,
    to: SendStream<Bytes>,
    /// Read, and not sent yet.
    held: Option<Bytes>,
    begun: bool,
    /// Ends with the call: a client that has its answer may never end its request, and h2 keeps a
    /// stream that is still sent to.
    over: Option<oneshot::Receiver<()>>,
}

impl Upload {
    /// Sends what is there of a body. Answers what is left to do, if anything is.
    pub(super) async fn begin(body: Outgoing, to: SendStream<Bytes>) -> Option<Self> {
        let mut upload = Self { body, to, held: None, begun: false, over: None };
        let sent = std::future::poll_fn(|cx| Poll::Ready(upload.poll_send(cx)));
        sent.await.is_pending().then_some(upload)
    }

    /// Lets the sending end when what is answered is dropped.
    pub(super) fn until_dropped(&mut self) -> oneshot::Sender<()> {
        let (call, over) = oneshot::channel();
        self.over = Some(over);
        call
    }

    /// An error is the stream's end.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            ready!(self.poll_room(cx))?;
            if let Some(data) = self.held.take() {
                let last = self.body.is_end_stream();
                self.to.send_data(data, last)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.held = Some(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return Poll::Ready(self.to.send_trailers(trailers));
                        }
                    }
                },
                Some(Err(error)) => {
                    self.to.send_reset(reason(&*error));
                    return Poll::Ready(Ok(()));
                }
                None => return Poll::Ready(self.to.send_data(Bytes::new(), true)),
            }
        }
    }

    /// Whether what is held may be sent: the first piece at once, to go out with the head, later
    /// ones when the service takes more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Some(held) = &self.held else { return Poll::Ready(Ok(())) };
        if !std::mem::replace(&mut self.begun, true) || held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.to.reserve_capacity(1);
        while self.to.capacity() == 0 {
            let granted = ready!(self.to.poll_capacity(cx));
            granted.unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Future for Upload {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let over = self.over.as_mut().is_some_and(|over| Pin::new(over).poll(cx).is_ready());
        if over || self.to.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_send(cx).map(drop)
    }
}

/// HTTP/2's reason of an error of a body: that of a client that has reset its call is handed on.
fn reason(error: &(dyn std::error::Error + 'static)) -> Reason {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut reasons = causes.filter_map(|error| error.downcast_ref::<h2::Error>()?.reason());
    reasons.next().unwrap_or(Reason::INTERNAL_ERROR)
}
