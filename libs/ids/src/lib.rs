//! Validated names of things: namespaces, identifiers, labels, digests.
//!
//! Owns: the rules that containerd has for names (lengths, characters) and the wording of their
//! errors. Must not know: where a name is stored or how it came over the wire.
//!
//! Receivers validate: a value of these types is right, nobody checks it again.

mod digest;
mod identifier;
mod labels;
mod namespace;

pub use digest::{Algorithm, Digest, DigestFault};
pub use identifier::{MAX_IDENTIFIER, validate_identifier};
pub use labels::{Labels, MAX_LABEL, validate_label, validate_labels};
pub use namespace::Namespace;

use berth_errors::{Code, Coded};

/// A name that is not allowed. Always INVALID_ARGUMENT; the wording is containerd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An identifier was the empty string.
    #[error("identifier must not be empty: invalid argument")]
    EmptyIdentifier,
    /// An identifier was longer than [`MAX_IDENTIFIER`] bytes.
    #[error(
        "identifier {0:?} greater than maximum length ({MAX_IDENTIFIER} characters): invalid argument"
    )]
    LongIdentifier(String),
    /// An identifier had a character or an order of characters that is not allowed.
    #[error(
        "identifier {0:?} must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument"
    )]
    MalformedIdentifier(String),
    /// A label's key and value together were longer than [`MAX_LABEL`] bytes.
    #[error(
        "label key and value length ({length} bytes) greater than maximum size ({MAX_LABEL} bytes), key: {key}: invalid argument"
    )]
    LongLabel {
        /// The label's key, cut to 64 bytes.
        key: String,
        /// Bytes of key and value.
        length: usize,
    },
    /// A digest was none.
    #[error("digest {digest:?}: {fault}: invalid argument")]
    Digest {
        /// The text given.
        digest: String,
        /// What is wrong with it.
        fault: DigestFault,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }
}
