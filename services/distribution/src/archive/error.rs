//! What goes wrong with an archive.

use berth_errors::{Code, Coded};
use berth_ids::Digest;

/// A failed step of reading or writing an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tar stream ended early or is no tar.
    #[error("read archive")]
    Read(#[source] std::io::Error),
    /// The other side stopped taking the archive.
    #[error("write archive")]
    Write(#[source] std::io::Error),
    /// The archive's own files are wrong.
    #[error("archive: {0}: invalid argument")]
    Format(String),
    /// A blob has other bytes than its name says.
    #[error("export {expected}: its bytes have digest {actual}, fetch it again: data loss")]
    Damaged {
        /// The blob's name.
        expected: Digest,
        /// What its bytes are.
        actual: Digest,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Read(source) if source.kind() == std::io::ErrorKind::ConnectionAborted => {
                Code::Cancelled
            }
            Error::Read(source) | Error::Write(source)
                if source.kind() == std::io::ErrorKind::TimedOut =>
            {
                Code::DeadlineExceeded
            }
            Error::Read(_) | Error::Format(_) => Code::InvalidArgument,
            Error::Write(_) => Code::Cancelled,
            Error::Damaged { .. } => Code::DataLoss,
        }
    }
}
