//! The crate's one error.

use std::path::PathBuf;

use berth_errors::{Code, Coded};

/// A certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use {} for {whom}", path.display())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// Whom it is for.
    pub whom: &'static str,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Coded for Error {
    fn code(&self) -> Code {
        Code::FailedPrecondition
    }
}
