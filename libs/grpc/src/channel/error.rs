//! Why a call did not come to its answer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_errors::{Code, Coded};
use tonic::Status;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "service {service} does not answer on {}: waited {waited:?}; {advice}: unavailable",
        path.display()
    )]
    Away {
        service: String,
        path: PathBuf,
        waited: Duration,
        advice: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "service {service} broke off {method} on {}: it may have been carried out or not, look before trying again; {advice}: unavailable",
        path.display()
    )]
    BrokenOff {
        service: String,
        path: PathBuf,
        method: String,
        advice: String,
        #[source]
        source: Box<h2::Error>,
    },
    #[error(
        "service {service} did not end {method} on {} before the caller's deadline: context deadline exceeded",
        path.display()
    )]
    Late { service: String, path: PathBuf, method: String },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Self::Away { .. } | Self::BrokenOff { .. } => Code::Unavailable,
            Self::Late { .. } => Code::DeadlineExceeded,
        }
    }
}

impl Error {
    /// The status, which keeps the error as its source.
    pub(super) fn into_status(self) -> Status {
        let mut status = crate::status(&self);
        status.set_source(Arc::new(self));
        status
    }
}
