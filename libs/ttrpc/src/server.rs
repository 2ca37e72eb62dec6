//! The serving side: accepts connections, runs their calls at once, drains when told to.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth_errors::Code;
use bytes::Bytes;
use prost::Message;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::message::KeyValue;
use crate::{Error, Status, requests};

/// One call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Full name of the service.
    pub service: String,
    /// Name of the method.
    pub method: String,
    /// The encoded message.
    pub payload: Bytes,
    /// Headers.
    pub metadata: Vec<KeyValue>,
    /// How long the caller waits, when it said so.
    pub timeout: Option<Duration>,
}

impl Call {
    /// The request as the message that it should be.
    pub fn decode<M: Message + Default>(&self) -> Result<M, Status> {
        M::decode(self.payload.clone()).map_err(|source| {
            let (service, method) = (&self.service, &self.method);
            let text = format!("decode request of {service}/{method}: {source}: invalid argument");
            Status::new(Code::InvalidArgument, text)
        })
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
    }
}

/// An encoded answer, for a handler to return.
#[must_use]
pub fn reply(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Answers calls.
///
/// The future of a call is dropped when its timeout passes or its connection ends: what must not
/// be left half done has to run in a task of its own.
pub trait Handler: Send + Sync + 'static {
    /// Answers one call; [`Status::unimplemented`] when it is not served.
    fn call(&self, call: Call) -> impl Future<Output = Result<Bytes, Status>> + Send;
}

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a frame may wait for the peer to read.
    pub write_timeout: Duration,
    /// Frames that wait to be written.
    pub queue: usize,
    /// Calls of one connection that run at once; more are refused.
    pub calls: usize,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { write_timeout: Duration::from_secs(10), queue: 32, calls: 1024, connections: 256 }
    }
}

/// Serves a handler.
pub struct Server<H> {
    handler: Arc<H>,
    limits: Limits,
}

impl<H: Handler> Server<H> {
    /// A server with default limits.
    pub fn new(handler: Arc<H>) -> Server<H> {
        Server { handler, limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Server<H> {
        Server { limits, ..self }
    }

    /// Serves until `stop` is ready, then lets running calls finish for at most `drain`.
    ///
    /// Connections of other users than our own and root are closed at once. Every task that was
    /// started has ended when this returns.
    pub async fn serve(
        &self,
        listener: UnixListener,
        stop: impl Future<Output = ()>,
        drain: Duration,
    ) -> Result<(), Error> {
        let stopping = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        let result = loop {
            tokio::select! {
                () = &mut stop => break Ok(()),
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < self.limits.connections => {
                    match accepted {
                        Ok((stream, _)) if allowed(&stream) => {
                            let (handler, stop) = (self.handler.clone(), stopping.subscribe());
                            connections.spawn(requests::serve(stream, handler, self.limits, stop));
                        }
                        Ok(_) => {}
                        // Too few descriptors or buffers: others give some back meanwhile.
                        Err(error) if passing(&error) => tokio::time::sleep(PAUSE).await,
                        Err(error) => break Err(error.into()),
                    }
                }
            }
        };
        drop(listener);
        stopping.send_replace(true);
        let joined = async { while connections.join_next().await.is_some() {} };
        // Whoever is not done by then is aborted below, that is what the bound is for.
        let _ = tokio::time::timeout(drain, joined).await;
        connections.shutdown().await;
        result
    }
}

/// How long accepting rests after an error that passes.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether an error of accept leaves the listener good: it concerned one connection, or a
/// shortage (ENFILE, EMFILE, ENOBUFS, ENOMEM).
fn passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory};
    matches!(error.raw_os_error(), Some(23 | 24 | 105))
        || matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory)
}

fn allowed(stream: &UnixStream) -> bool {
    let own =
        std::fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta));
    match (stream.peer_cred().as_ref().map(UCred::uid), own) {
        (Ok(peer), Ok(own)) => peer == 0 || peer == own,
        _ => false,
    }
}
