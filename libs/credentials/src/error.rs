//! What goes wrong with credentials on record.

use std::path::PathBuf;

use berth_errors::{Code, Coded};

/// Credentials that could not be looked up. No secret is in the message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A docker configuration that cannot be used.
    #[error("read registry credentials from {}: {reason}: failed precondition", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A credential helper that did not answer as it should.
    #[error("ask credential helper {helper} for {host}: {reason}: failed precondition")]
    Helper {
        /// The program's name.
        helper: String,
        /// The registry that it was asked for.
        host: String,
        /// What went wrong.
        reason: String,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        Code::FailedPrecondition
    }
}
