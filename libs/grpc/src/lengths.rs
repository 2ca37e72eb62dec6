//! How long the messages of a body are, told by what goes before each of them.
//!
//! A body is handed on undecoded, and ends before the message that is too long: what came before it
//! may have been sent, and counts then.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tonic::Status;

/// What is before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Where in its messages a body is.
#[derive(Debug)]
pub struct Lengths {
    most: u32,
    /// As much of the next message's prefix as has come.
    prefix: [u8; PREFIX],
    come: usize,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Lengths {
    /// At the begin of a body, of which no message may have more than so many bytes.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most, prefix: [0; PREFIX], come: 0, left: 0 }
    }

    /// Goes on by `data`. If a message in it is too long, cuts it off there and answers how long that is.
    /// Of a prefix that came in pieces the first are gone.
    pub fn pass(&mut self, data: &mut Bytes) -> Option<u32> {
        let mut at = 0;
        while at < data.len() {
            if self.left > 0 {
                let step = self.left.min(u32::try_from(data.len() - at).unwrap_or(u32::MAX));
                self.left -= step;
                at += step as usize;
                continue;
            }
            let begin = at;
            while self.come < PREFIX && at < data.len() {
                self.prefix[self.come] = data[at];
                (self.come, at) = (self.come + 1, at + 1);
            }
            if self.come == PREFIX {
                let [_, a, b, c, d] = self.prefix;
                (self.come, self.left) = (0, u32::from_be_bytes([a, b, c, d]));
                if self.left > self.most {
                    data.truncate(begin);
                    return Some(self.left);
                }
            }
        }
        None
    }

    /// What whoever gets the body is told of a message that is too long.
    #[must_use]
    pub fn not_sent(&self, length: u32) -> Status {
        let most = self.most;
        let text = format!("grpc: trying to send message larger than max ({length} vs. {most})");
        Status::resource_exhausted(text)
    }
}

/// The body of a request, in which no message is too long.
#[derive(Debug)]
pub struct Bounded<B> {
    body: B,
    lengths: Lengths,
    /// Gone once a message was too long.
    refuse: Option<oneshot::Sender<u32>>,
    refused: Option<Status>,
}

/// Hears why a request is refused: of the body alone the caller would learn that it was broken off.
#[derive(Debug)]
pub struct Refusal {
    most: u32,
    hears: Option<oneshot::Receiver<u32>>,
}

impl<B> Bounded<B> {
    /// A body whose messages may have so many bytes.
    pub fn new(body: B, most: u32) -> (Self, Refusal) {
        let (refuse, hears) = oneshot::channel();
        let bounded =
            Self { body, lengths: Lengths::new(most), refuse: Some(refuse), refused: None };
        (bounded, Refusal { most, hears: Some(hears) })
    }
}

impl Refusal {
    /// Why the request is refused, once it is.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let Some(hears) = &mut self.hears else { return Poll::Pending };
        let heard = ready!(Pin::new(hears).poll(cx));
        self.hears = None;
        // The body is gone: nothing in it was too long.
        let Ok(length) = heard else { return Poll::Pending };
        Poll::Ready(not_taken(length, self.most))
    }

    /// What is answered, unless the request is refused.
    ///
    /// # Errors
    /// Why it is, or what the answer says.
    pub async fn or<T>(
        &mut self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut answer = std::pin::pin!(answer);
        std::future::poll_fn(|cx| {
            let answered = answer.as_mut().poll(cx);
            // After it: that is where the request is read.
            match self.poll(cx) {
                Poll::Ready(status) => Poll::Ready(Err(status)),
                Poll::Pending => answered,
            }
        })
        .await
    }
}

/// As Go's library says it, by which clients know it.
fn not_taken(length: u32, most: u32) -> Status {
    let text = format!("grpc: received message larger than max ({length} vs. {most})");
    Status::resource_exhausted(text)
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(status) = this.refused.take() {
            return Poll::Ready(Some(Err(status.into())));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let Some(frame) = frame.transpose().map_err(Into::into)? else { return Poll::Ready(None) };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        if let Some(length) = this.lengths.pass(&mut data) {
            let status = not_taken(length, this.lengths.most);
            if let Some(refuse) = this.refuse.take() {
                // Nobody hears it who does not wait for the answer any more.
                let _ = refuse.send(length);
            }
            if data.is_empty() {
                return Poll::Ready(Some(Err(status.into())));
            }
            this.refused = Some(status);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.refused.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.refused {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let bytes = vec![7; length as usize];
        [&[0][..], &length.to_be_bytes(), &bytes].concat()
    }

    /// What passes of a body that comes in pieces of so many bytes, and the length that does not.
    fn passed(body: &[u8], piece: usize, most: u32) -> (usize, Option<u32>) {
        let (mut lengths, mut sum) = (Lengths::new(most), 0);
        for piece in body.chunks(piece) {
            let mut data = Bytes::copy_from_slice(piece);
            let refused = lengths.pass(&mut data);
            sum += data.len();
            if refused.is_some() {
                return (sum, refused);
            }
        }
        (sum, None)
    }

    #[test]
    fn messages_are_told_apart_however_they_come() {
        let fits = [message(10), message(0), message(9)].concat();
        let body = [fits.clone(), message(11), message(1)].concat();
        for piece in 1..=body.len() {
            let (sum, refused) = passed(&body, piece, 10);
            assert_eq!(refused, Some(11), "{piece}");
            // Pieces of the prefix may be gone before it is whole.
            assert!((fits.len()..fits.len() + PREFIX).contains(&sum), "{piece}: {sum}");
            assert_eq!(passed(&body, piece, 11), (body.len(), None), "{piece}");
        }
        assert_eq!(passed(&body, body.len(), 10).0, fits.len());
        assert_eq!(passed(&[1, 0xff, 0xff, 0xff, 0xff], 5, u32::MAX - 1), (0, Some(u32::MAX)));
    }
}
