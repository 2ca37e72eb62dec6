//! What can go wrong between a client and a service.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use berth_errors::{Code, Coded};

/// Every failure that the gateway itself answers with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens on a service's socket.
    #[error(
        "service {service} does not answer on {}: waited {waited:?}; see `journalctl -u berth` for why it is down: unavailable",
        path.display()
    )]
    Away {
        /// The service.
        service: &'static str,
        /// Its socket.
        path: PathBuf,
        /// How long the call waited.
        waited: Duration,
        /// What the last attempt said.
        #[source]
        source: io::Error,
    },
    /// The connection ended while a call was under way.
    #[error(
        "service {service} broke off {method}: it may have been carried out or not, look before trying again; see `journalctl -u berth`: unavailable"
    )]
    BrokenOff {
        /// The service.
        service: &'static str,
        /// Path of the call.
        method: String,
        /// What the connection said.
        #[source]
        source: hyper::Error,
    },
    /// The caller's deadline passed.
    #[error("{method} did not end before the caller's deadline: context deadline exceeded")]
    Late {
        /// Path of the call.
        method: String,
    },
    /// No service of that name is part of the node.
    #[error("unknown service {0}")]
    UnknownService(String),
    /// The path is not `/service/method`.
    #[error("malformed method name {0:?}: a path is /SERVICE/METHOD")]
    MalformedPath(String),
    /// The gateway's own socket.
    #[error("{step} {}", path.display())]
    Socket {
        /// What was tried.
        step: &'static str,
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The socket could not be bound, or a header of the call cannot be read.
    #[error(transparent)]
    Grpc(#[from] berth_grpc::Error),
    /// The identity of the server cannot be read.
    #[error("read the pid namespace from {path}")]
    PidNamespace {
        /// The link.
        path: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A filter does not parse.
    #[error(transparent)]
    Filter(#[from] berth_filters::Error),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Self::Away { .. } | Self::BrokenOff { .. } => Code::Unavailable,
            Self::Late { .. } => Code::DeadlineExceeded,
            Self::UnknownService(_) | Self::MalformedPath(_) => Code::Unimplemented,
            Self::Socket { source, .. } | Self::PidNamespace { source, .. } => {
                berth_errors::code_of_io(source)
            }
            Self::Grpc(error) => error.code(),
            Self::Filter(error) => error.code(),
        }
    }
}
