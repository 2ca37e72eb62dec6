//! What can go wrong with a connection or a call.

use std::path::PathBuf;
use std::time::Duration;

use berth_errors::{Code, Coded};

/// An error of the client, or of a connection of the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing accepts connections there.
    #[error("connect to {path}: {source}: unavailable", path = path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The connection ended before the answer came.
    #[error("call {call}: ttrpc: closed: unavailable")]
    Closed {
        /// `service/method`.
        call: String,
    },
    /// The deadline passed before the answer came.
    #[error("call {call}: no answer within {after:?}: context deadline exceeded")]
    Deadline {
        /// `service/method`.
        call: String,
        /// How long the caller was willing to wait.
        after: Duration,
    },
    /// The other side answered with an error.
    #[error("{message}")]
    Remote {
        /// Its code.
        code: Code,
        /// Its text, as it came.
        message: String,
    },
    /// A message is larger than a frame may be.
    #[error(
        "message length {length} exceed maximum message size of {limit}: resource exhausted",
        limit = crate::MAX_MESSAGE
    )]
    Oversize {
        /// Bytes of the message.
        length: usize,
    },
    /// The answer is not the message that was expected.
    #[error("decode answer of {call}: {source}")]
    Decode {
        /// `service/method`.
        call: String,
        /// What prost said.
        source: prost::DecodeError,
    },
    /// The other side does not speak the protocol; the connection is closed.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// The other side does not read; the connection is closed.
    #[error("peer has not read for {0:?}: unavailable")]
    Hung(Duration),
    /// Reading or writing failed.
    #[error("socket")]
    Io(#[from] std::io::Error),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Connect { .. } | Error::Closed { .. } | Error::Hung(_) => Code::Unavailable,
            Error::Deadline { .. } => Code::DeadlineExceeded,
            Error::Remote { code, .. } => *code,
            Error::Oversize { .. } => Code::ResourceExhausted,
            Error::Decode { .. } | Error::Malformed(_) => Code::Internal,
            Error::Io(source) => berth_errors::code_of_io(source),
        }
    }
}
