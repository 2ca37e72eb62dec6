//! The server's side of one connection: requests in, answers out, calls in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use berth_errors::Code;
use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::frame::{self, Frame, Kind};
use crate::handler::{Call, Handler, Limits};
use crate::message::{Request, Response};
use crate::{Error, MAX_MESSAGE, Status, connection};

/// One connection: reads requests and writes answers at the same time.
pub(crate) async fn serve<H: Handler>(
    stream: UnixStream,
    handler: Arc<H>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let (reader, writer) = stream.into_split();
    let (answers, frames) = mpsc::channel(limits.queue);
    let mut requests = Requests {
        handler,
        answers,
        calls: JoinSet::new(),
        refused: HashSet::new(),
        last: 0,
        most: limits.calls,
    };
    let read = async move {
        tokio::select! {
            // Closed, broken or not speaking the protocol: nobody to tell either way.
            _ = requests.read(reader) => {}
            () = async { stop.wait_for(|stop| *stop).await.map_or((), drop) } => {
                while requests.calls.join_next().await.is_some() {}
            }
        }
    };
    let write = connection::write(writer, frames, limits.write_timeout);
    tokio::pin!(read, write);
    tokio::select! {
        // A peer that is gone or hangs: its calls end with `read`.
        _ = &mut write => {}
        // The queue has no sender left: what is in it is still written.
        () = &mut read => { let _ = write.await; }
    }
}

/// The requests of one connection.
struct Requests<H> {
    handler: Arc<H>,
    answers: mpsc::Sender<BytesMut>,
    calls: JoinSet<()>,
    /// Streams that were refused and whose data may still arrive.
    refused: HashSet<u32>,
    last: u32,
    most: usize,
}

impl<H: Handler> Requests<H> {
    async fn read(&mut self, reader: OwnedReadHalf) -> Result<(), Error> {
        let mut reader = BufReader::with_capacity(connection::READ_BUFFER, reader);
        while let Some(frame) = frame::read(&mut reader).await? {
            let stream = frame.stream;
            match self.request(frame) {
                Ok(Some(request)) => self.start(stream, request),
                Ok(None) => {}
                Err(status) => self.refuse(stream, status).await?,
            }
        }
        Ok(())
    }

    /// The request in a frame; `None` for what is to be ignored.
    fn request(&mut self, frame: Frame) -> Result<Option<Request>, Status> {
        let invalid = |text: &str| Err(Status::new(Code::InvalidArgument, text));
        if frame.stream.is_multiple_of(2) {
            return invalid("StreamID must be odd for client initiated streams");
        }
        match frame.kind {
            Kind::Request if frame.stream <= self.last => {
                return invalid("StreamID cannot be re-used and must increment");
            }
            Kind::Data if self.refused.contains(&frame.stream) => return Ok(None),
            Kind::Data => return invalid("StreamID is no longer active"),
            Kind::Response => return invalid("response from a client"),
            Kind::Request => self.last = frame.stream,
        }
        if frame.flags != 0 {
            self.refused.insert(frame.stream);
            let text = "streams are not served, call without them: not implemented";
            return Err(Status::new(Code::Unimplemented, text));
        }
        let body = frame.body.map_err(|length| Error::Oversize { length })?;
        match Request::decode(body) {
            Ok(request) => Ok(Some(request)),
            Err(error) => invalid(&format!("decode request: {error}")),
        }
    }

    fn start(&mut self, stream: u32, request: Request) {
        while self.calls.try_join_next().is_some() {}
        let guard = Answer { answers: self.answers.clone(), stream };
        let full = self.calls.len() >= self.most;
        let (handler, most) = (self.handler.clone(), self.most);
        self.calls.spawn(async move {
            let result = if full {
                let text = format!("{most} calls are running on this connection");
                Err(Status::new(Code::ResourceExhausted, text))
            } else {
                run(&*handler, request).await
            };
            guard.send(result).await;
        });
    }

    async fn refuse(&mut self, stream: u32, status: Status) -> Result<(), Error> {
        if self.refused.len() > self.most {
            return Err(Error::Malformed("too many refused streams"));
        }
        let frame = encode(stream, Err(status));
        self.answers.send(frame).await.map_err(|_| Error::Malformed("connection ended"))
    }
}

async fn run(handler: &impl Handler, request: Request) -> Result<Bytes, Status> {
    let nanos = u64::try_from(request.timeout_nano).unwrap_or(0);
    let timeout = (nanos > 0).then(|| Duration::from_nanos(nanos));
    let Request { service, method, payload, metadata, .. } = request;
    let call = handler.call(Call { service, method, payload, metadata, timeout });
    match timeout {
        None => call.await,
        Some(timeout) => tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Err(Status::new(Code::DeadlineExceeded, Code::DeadlineExceeded.words()))
        }),
    }
}

/// The answer of one call; a handler that panicked is answered for too.
struct Answer {
    answers: mpsc::Sender<BytesMut>,
    stream: u32,
}

impl Answer {
    async fn send(self, result: Result<Bytes, Status>) {
        // The connection has ended: nobody waits.
        let _ = self.answers.send(encode(self.stream, result)).await;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = Status::new(Code::Internal, "the handler of the call panicked");
            let _ = self.answers.try_send(encode(self.stream, Err(status)));
        }
    }
}

fn encode(stream: u32, result: Result<Bytes, Status>) -> BytesMut {
    let response = match result {
        Ok(payload) => Response { status: None, payload },
        Err(status) => Response { status: Some(status.into()), payload: Bytes::new() },
    };
    frame::encode(Kind::Response, stream, &response).unwrap_or_else(|error| {
        let status = Status::new(Code::ResourceExhausted, format!("answer: {error}"));
        debug_assert!(status.message.len() < MAX_MESSAGE);
        let response = Response { status: Some(status.into()), payload: Bytes::new() };
        frame::encode(Kind::Response, stream, &response).unwrap_or_default()
    })
}
