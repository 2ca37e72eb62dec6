//! What goes wrong while layers are unpacked.

use berth_errors::{Code, Coded};
use berth_ids::Digest;

use super::layers::Failure;

/// A failed step of unpacking.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bundle refused or did not answer.
    #[error("{step}")]
    Bundle {
        /// What was asked of it, and for which object.
        step: String,
        /// What it said.
        #[source]
        source: Failure,
    },
    /// The layer is not what the configuration says.
    #[error(
        "layer {layer}: its content has diff ID {actual}, the image configuration says {expected}: failed precondition"
    )]
    DiffId {
        /// The layer's blob.
        layer: Digest,
        /// What came out.
        actual: String,
        /// What should have.
        expected: Digest,
    },
    /// No pipe could be made.
    #[error("make a pipe for layer {layer}")]
    Pipe {
        /// The layer's blob.
        layer: Digest,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Bundle { source, .. } => source.code,
            Error::DiffId { .. } => Code::FailedPrecondition,
            Error::Pipe { source, .. } => berth_errors::code_of_io(source),
        }
    }
}
