//! The calling side: many calls at once over one connection.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::frame::{self, Frame, Kind};
use crate::message::{KeyValue, Request, Response};
use crate::{Error, Limits, MAX_MESSAGE, connection, status};

/// A connection to a server. Clones share it; it is closed with the last of them.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    queue: mpsc::Sender<BytesMut>,
    metadata: Arc<Vec<KeyValue>>,
    /// Reader and writer, ended with the last clone.
    _driver: Arc<JoinSet<()>>,
}

struct Shared {
    pending: Mutex<Pending>,
    closed: watch::Sender<bool>,
}

/// Streams are given out and put in the queue under one lock: servers want them in rising order.
struct Pending {
    next: u32,
    closed: bool,
    calls: HashMap<u32, oneshot::Sender<Result<Response, Error>>>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails all calls, those to come too.
    fn close(&self) {
        let calls = {
            let mut pending = self.pending();
            pending.closed = true;
            std::mem::take(&mut pending.calls)
        };
        drop(calls);
        self.closed.send_replace(true);
    }
}

impl Client {
    /// Connects to the socket at `path`.
    pub async fn connect(path: &Path, deadline: Duration) -> Result<Client, Error> {
        let connect = |source| Error::Connect { path: path.to_owned(), source };
        let stream = tokio::time::timeout(deadline, UnixStream::connect(path))
            .await
            .map_err(|_| connect(std::io::ErrorKind::TimedOut.into()))?
            .map_err(connect)?;
        Ok(Client::new(stream, Limits::default()))
    }

    /// A client on a connection that exists already. Needs a runtime's context.
    #[must_use]
    pub fn new(stream: UnixStream, limits: Limits) -> Client {
        let (reader, writer) = stream.into_split();
        let (queue, frames) = mpsc::channel(limits.queue);
        let pending = Pending { next: 1, closed: false, calls: HashMap::new() };
        let shared =
            Arc::new(Shared { pending: Mutex::new(pending), closed: watch::Sender::new(false) });
        let mut driver = JoinSet::new();
        let (ends, state) = (shared.clone(), shared.clone());
        driver.spawn(async move {
            tokio::select! {
                _ = connection::write(writer, frames, limits.write_timeout) => {}
                _ = read(reader, &state) => {}
            }
            ends.close();
        });
        Client { shared, queue, metadata: Arc::default(), _driver: Arc::new(driver) }
    }

    /// The same connection, with headers that are sent along with every call.
    #[must_use]
    pub fn with_metadata(&self, metadata: Vec<KeyValue>) -> Client {
        Client { metadata: Arc::new(metadata), ..self.clone() }
    }

    /// The same connection, with further headers.
    #[must_use]
    pub fn with_more_metadata(&self, more: Vec<KeyValue>) -> Client {
        let metadata = self.metadata.iter().cloned().chain(more).collect();
        Client { metadata: Arc::new(metadata), ..self.clone() }
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        // An error means that the sender is gone, and we hold it.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Calls `service/method` and waits for the answer at most for `deadline`.
    pub async fn call<M: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &impl Message,
        deadline: Duration,
    ) -> Result<M, Error> {
        let payload = request.encode_to_vec().into();
        let answer = self.call_raw(service, method, payload, deadline).await?;
        M::decode(answer).map_err(|source| Error::Decode { call: name(service, method), source })
    }

    /// As [`Client::call`], with messages that are encoded already.
    pub async fn call_raw(
        &self,
        service: &str,
        method: &str,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, Error> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: i64::try_from(deadline.as_nanos()).unwrap_or(i64::MAX),
            metadata: self.metadata.to_vec(),
        };
        let frame = frame::encode(Kind::Request, 0, &request)?;
        let late = || Error::Deadline { call: name(service, method), after: deadline };
        let closed = || Error::Closed { call: name(service, method) };
        let response = tokio::time::timeout(deadline, async {
            let (mut ticket, answer) = self.send(frame).await.ok_or_else(closed)?;
            let answer = answer.await.map_err(|_| closed())?;
            ticket.answered = true;
            answer
        })
        .await
        .map_err(|_| late())??;
        match response.status.and_then(|status| Some((status::code(status.code)?, status.message)))
        {
            Some((code, message)) => Err(Error::Remote { code, message }),
            None => Ok(response.payload),
        }
    }

    /// Gives the frame a stream and queues it; `None` when the connection has ended.
    async fn send(&self, mut frame: BytesMut) -> Option<(Ticket, Answer)> {
        let permit = self.queue.reserve().await.ok()?;
        let (sender, answer) = oneshot::channel();
        let mut pending = self.shared.pending();
        if pending.closed {
            return None;
        }
        let stream = pending.next;
        let Some(next) = stream.checked_add(2) else {
            drop(pending);
            self.shared.close();
            return None;
        };
        pending.next = next;
        pending.calls.insert(stream, sender);
        frame::set_stream(&mut frame, stream);
        permit.send(frame);
        drop(pending);
        Some((Ticket { shared: self.shared.clone(), stream, answered: false }, answer))
    }
}

type Answer = oneshot::Receiver<Result<Response, Error>>;

/// Forgets a call whose caller went away before the answer.
struct Ticket {
    shared: Arc<Shared>,
    stream: u32,
    answered: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.pending().calls.remove(&self.stream);
        }
    }
}

fn name(service: &str, method: &str) -> String {
    format!("{service}/{method}")
}

/// Hands answers to their callers until the connection ends or stops making sense.
async fn read(reader: OwnedReadHalf, shared: &Shared) -> Result<(), Error> {
    let mut reader = BufReader::with_capacity(connection::READ_BUFFER, reader);
    while let Some(frame) = frame::read(&mut reader).await? {
        let stream = frame.stream;
        let answer = answer(frame)?;
        // An unknown stream is one whose caller went away.
        if let Some(caller) = shared.pending().calls.remove(&stream) {
            let _ = caller.send(answer);
        }
    }
    Ok(())
}

fn answer(frame: Frame) -> Result<Result<Response, Error>, Error> {
    match (frame.kind, frame.body) {
        (Kind::Request, _) => Err(Error::Malformed("request from a server")),
        (Kind::Data, _) => Ok(Err(Error::Malformed("stream data in answer to a unary call"))),
        (Kind::Response, Err(length)) => {
            debug_assert!(length > MAX_MESSAGE);
            Ok(Err(Error::Oversize { length }))
        }
        (Kind::Response, Ok(body)) => {
            Response::decode(body).map(Ok).map_err(|_| Error::Malformed("response that is not one"))
        }
    }
}
