//! What can go wrong before a call reaches a handler.

use std::io;
use std::path::PathBuf;

use berth_errors::{Code, Coded, code_of_io};

/// A failure of the common gRPC machinery.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket could not be made.
    #[error("{step} socket {path:?}: {source}")]
    Socket {
        /// What was being done.
        step: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody else answers on the socket.
    #[error(
        "listen on {path:?}: another process serves there (pid {pid}), stop it or choose another path"
    )]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who listens; 0 when it is not to be seen from here.
        pid: i32,
    },
    /// The call named no namespace.
    #[error("namespace is required: failed precondition")]
    NamespaceRequired,
    /// The call named a namespace that cannot be one.
    #[error("namespace validation: {0}")]
    Namespace(#[from] berth_ids::Error),
    /// A header was not text.
    #[error("header {0:?} is not printable ASCII: invalid argument")]
    Header(&'static str),
    /// The caller's deadline cannot be read.
    #[error(
        "malformed grpc-timeout {0:?}: at most eight digits and one of H, M, S, m, u, n: invalid argument"
    )]
    Timeout(String),
    /// An update's field mask named a field that cannot be updated.
    #[error("cannot update {field:?} field on {object}: invalid argument")]
    Mask {
        /// The path in the mask.
        field: String,
        /// The object, with its kind.
        object: String,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Socket { source, .. } => code_of_io(source),
            Error::InUse { .. } | Error::NamespaceRequired => Code::FailedPrecondition,
            Error::Namespace(error) => error.code(),
            Error::Header(_) | Error::Timeout(_) | Error::Mask { .. } => Code::InvalidArgument,
        }
    }
}
