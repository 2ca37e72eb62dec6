//! What can go wrong, each with its code.

use berth_errors::{Code, Coded};

/// Why a control group was not found or joined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such group.
    #[error("failed to load cgroup {0}: make it, or choose another: not found")]
    NotFound(String),
    /// The process is in no group.
    #[error("process {0} has no control group: failed precondition")]
    None(i32),
    /// The kernel says no; it names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NotFound,
            Self::None(_) => Code::FailedPrecondition,
            Self::Io(source) => berth_errors::code_of_io(source),
        }
    }
}
