//! The crate's one error enum.
//!
//! Codes are those of containerd's CRI, which kubelets expect: what a state does not allow is UNKNOWN.

use std::path::PathBuf;
use std::sync::Arc;

use berth_errors::{Code, Coded, code_of_io};

/// What the domain of this service answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the CRI service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something failed on the way to what was asked for.
    #[error("{step}: {source}")]
    Within {
        /// What was being done.
        step: String,
        /// What failed.
        source: Box<Error>,
    },
    /// Another service of the node refused, or did not answer.
    #[error("{step}: {message}")]
    Peer {
        /// What was asked of it.
        step: &'static str,
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
    /// There is no such pod, container or image.
    #[error("{0}: not found")]
    NotFound(String),
    /// The request cannot be right.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// It cannot be done as things stand, or not with this request. Kubelets know it by its words.
    #[error("{0}")]
    Refused(String),
    /// A part of an id that several begin with.
    #[error("Multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// As many as there is room for are there already.
    #[error("{0}: resource exhausted")]
    TooMany(String),
    /// It is not there for now.
    #[error("{0}: unavailable")]
    Gone(String),
    /// An image could not be had. The end is the registry's, or distribution's own.
    #[error("failed to pull and unpack image {image:?}: {message}")]
    Pull {
        /// Its whole name.
        image: String,
        /// The code.
        code: Code,
        /// What went wrong.
        message: String,
    },
    /// Work that several may wait for failed. Its causes are told with it, as this one has none of its own.
    #[error("{}", berth_errors::chain(&**.0))]
    Joined(Arc<Error>),
    /// Recovery is not done.
    #[error("server is not initialized yet: unavailable")]
    NotReady,
    /// It ended before it was done.
    #[error("{0}: context deadline exceeded")]
    Deadline(String),
    /// A method that is not served.
    #[error("{0} is not served by this version of berth: not implemented")]
    Unserved(&'static str),
    /// A step on a file or folder of this service's own failed.
    #[error("{step} {}: {source}", path.display())]
    File {
        /// What was being done.
        step: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A record is not what was written there.
    #[error("{what} of {id}: {why}: data loss")]
    Unreadable {
        /// Which part of the record.
        what: &'static str,
        /// Whose.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was asked for cannot be a specification.
    #[error(transparent)]
    Spec(#[from] berth_cri_spec::Error),
    /// A mount could not be made or undone.
    #[error(transparent)]
    Mount(#[from] berth_mount::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] berth_store::Error),
    /// Work was cut off or panicked.
    #[error(transparent)]
    Lifecycle(#[from] berth_lifecycle::Error),
}

impl Error {
    /// What [`Result::map_err`] puts a failed step's name before it by.
    pub fn within(step: impl Into<String>) -> impl FnOnce(Error) -> Error {
        let step = step.into();
        move |source| Error::Within { step, source: Box::new(source) }
    }

    /// What [`Result::map_err`] names a file by.
    pub fn file(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { step, path, source }
    }

    /// Whether what was asked about is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Code::NotFound
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Within { source, .. } => source.code(),
            Error::Peer { code, .. } | Error::Pull { code, .. } => *code,
            Error::Joined(error) => error.code(),
            Error::NotFound(_) => Code::NotFound,
            Error::Invalid(_) => Code::InvalidArgument,
            Error::Refused(_) | Error::Ambiguous(_) => Code::Unknown,
            Error::TooMany(_) => Code::ResourceExhausted,
            Error::NotReady | Error::Gone(_) => Code::Unavailable,
            Error::Deadline(_) => Code::DeadlineExceeded,
            Error::Unserved(_) => Code::Unimplemented,
            Error::File { source, .. } => code_of_io(source),
            Error::Unreadable { .. } => Code::DataLoss,
            Error::Spec(error) => error.code(),
            Error::Mount(error) => error.code(),
            Error::Store(error) => error.code(),
            Error::Lifecycle(error) => error.code(),
        }
    }
}
