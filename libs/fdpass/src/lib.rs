//! Open descriptors handed from one service to another over a side socket.
//!
//! Owns: the side socket, the tokens that stand for descriptors in gRPC messages, and how long
//! one is good for. Must not know: what is behind a descriptor.
//!
//! The owner offers a descriptor and sends the token by gRPC; the user claims it here. A token is
//! 16 random bytes, good once and for [`OFFER_LIFETIME`]. Both sides check the other's uid. On
//! the wire: the token in hex from the user; one byte from the owner, with the descriptor.

mod claim;
mod offers;
mod server;

pub use claim::claim;
pub use offers::{MAX_OFFERS, OFFER_LIFETIME, Token};
pub use server::FdServer;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use berth_errors::{Code, Coded, code_of_io};

/// The answer that comes with a descriptor, and the one that comes without.
const HERE: u8 = b'+';
const GONE: u8 = b'-';

/// A descriptor that could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The side socket could not be bound.
    #[error(transparent)]
    Bind(#[from] berth_grpc::Error),
    /// A system call of the handover failed.
    #[error("{step} {path:?}: {source}")]
    Socket {
        /// What was being done.
        step: &'static str,
        /// The side socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The text is no token.
    #[error("descriptor token is not 32 hex digits: invalid argument")]
    Malformed,
    /// Nobody claims what was offered.
    #[error("{MAX_OFFERS} descriptors wait to be claimed, try again: resource exhausted")]
    Full,
    /// The token is unknown, used, or too old.
    #[error(
        "descriptor of this token at {0:?} was claimed or has expired, ask for another: not found"
    )]
    Gone(PathBuf),
    /// The owner hung up without an answer: it is ending, or does not know the user.
    #[error(
        "claim descriptor at {0:?}: its owner ended before it answered, try again: unavailable"
    )]
    Ended(PathBuf),
    /// The owner did not answer in time.
    #[error("claim descriptor at {path:?} within {deadline:?}: context deadline exceeded")]
    Deadline {
        /// The side socket.
        path: PathBuf,
        /// The time it had.
        deadline: Duration,
    },
    /// The other side is not whom it should be or said what makes no sense.
    #[error("claim descriptor at {path:?}: {problem}")]
    Peer {
        /// The side socket.
        path: PathBuf,
        /// What was wrong.
        problem: &'static str,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Bind(error) => error.code(),
            Error::Socket { source, .. } if is_away(source.kind()) => Code::Unavailable,
            Error::Socket { source, .. } => code_of_io(source),
            Error::Malformed => Code::InvalidArgument,
            Error::Full => Code::ResourceExhausted,
            Error::Gone(_) => Code::NotFound,
            Error::Ended(_) => Code::Unavailable,
            Error::Deadline { .. } => Code::DeadlineExceeded,
            Error::Peer { .. } => Code::Internal,
        }
    }
}

/// If the owner has no socket, listens no more, or died with the connection open.
fn is_away(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(kind, NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}
