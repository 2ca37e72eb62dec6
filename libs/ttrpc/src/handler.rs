//! What a server's user writes and sets: calls, their answers, the limits of a connection.

use std::future::Future;
use std::time::Duration;

use berth_errors::Code;
use bytes::Bytes;
use prost::Message;

use crate::Status;
use crate::message::KeyValue;

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
