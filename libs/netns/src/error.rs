//! What goes wrong with a namespace at a path.

use std::io;
use std::path::PathBuf;

use berth_errors::{Code, Coded, code_of_io};

/// A failed step with a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be a file's in the folder.
    #[error(
        "network namespace {0:?}: a name is 1 to 255 bytes without a slash, and does not begin with a dot: invalid argument"
    )]
    Name(String),
    /// Another namespace is pinned there.
    #[error("network namespace {}: already exists", .0.display())]
    Exists(PathBuf),
    /// Nothing is pinned there.
    #[error("network namespace {}: not found", .0.display())]
    Missing(PathBuf),
    /// A system call failed.
    #[error("{step} network namespace {}: {source}", path.display())]
    Step {
        /// What was being done, a verb.
        step: &'static str,
        /// The pin, or the folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A system call failed that is of no path.
    #[error("{step}: {source}")]
    Thread {
        /// What was being done, a verb and its object.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Name(_) => Code::InvalidArgument,
            Error::Exists(_) => Code::AlreadyExists,
            Error::Missing(_) => Code::NotFound,
            Error::Step { source, .. } | Error::Thread { source, .. } => code_of_io(source),
        }
    }
}
