//! What goes wrong between us and a registry.

use std::path::PathBuf;

use berth_errors::{Code, Coded};
use berth_ids::Digest;
use http::{Method, StatusCode};

use super::manifest::Descriptor;
use super::repository::Host;
use super::retry::is_busy;

/// A failed step of talking to a registry. The message names the object, the step and the host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A reference that names nothing.
    #[error("reference {reference:?}: {reason}: invalid argument")]
    Reference {
        /// As it was given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `hosts.toml` that cannot be used.
    #[error("read registry configuration {}: {reason}: failed precondition", path.display())]
    HostsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Credentials on record that cannot be looked up.
    #[error(transparent)]
    Recorded(#[from] berth_credentials::Error),
    /// The caller's own source of credentials failed.
    #[error("ask the client for credentials of {host}: {reason}: unavailable")]
    CredentialsSource {
        /// The registry that they were for.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// A certificate or a key that cannot be used.
    #[error("set up TLS for registry {host}: {reason}: failed precondition")]
    Tls {
        /// The registry.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// No configured host may do this. The end is containerd's.
    #[error(
        "{step}: no host of {host} may {capability}, see its hosts.toml: no {capability} hosts: not found"
    )]
    NoHost {
        /// What was to be done.
        step: String,
        /// The registry of the reference.
        host: String,
        /// What none of its hosts may do.
        capability: &'static str,
    },
    /// The connection could not be made, or broke, more often than the policy allows.
    #[error("{step} at {host}: failed to do request, see that it is up and try again")]
    Connection {
        /// What was being done.
        step: String,
        /// The host.
        host: String,
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
    /// The host did not answer in time.
    #[error("{step} at {host}: nothing came for {seconds} s, try again: context deadline exceeded")]
    Stalled {
        /// What was being done.
        step: String,
        /// The host.
        host: String,
        /// How long was waited.
        seconds: u64,
    },
    /// No host of the registry knows what the reference names.
    #[error("{0}: not found")]
    NoManifest(String),
    /// No host of the registry has this object of an image.
    #[error(
        "{step} at {host}: could not fetch content descriptor {digest} ({media_type}) from remote: not found"
    )]
    NoContent {
        /// What was being done.
        step: String,
        /// The last host that was asked.
        host: String,
        /// The object.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// The host answered with a status that ends the step. The words are containerd's.
    #[error("{step}: unexpected status from {method} request to {url}: {status}{detail}{}: {}", advice(*status), code_of_status(*status))]
    Status {
        /// What was being done.
        step: String,
        /// How it was asked.
        method: Method,
        /// Who answered, without what may be a secret.
        url: String,
        /// The answer.
        status: StatusCode,
        /// `: CODE: message` of the body, when there was one.
        detail: String,
    },
    /// The credentials were missing or refused. Begin and end are containerd's.
    #[error(
        "{access} access denied, repository does not exist or may require authorization: {step} at {host}: {reason}: authorization failed"
    )]
    Unauthorized {
        /// `pull` or `push`.
        access: &'static str,
        /// What was being done.
        step: String,
        /// The host.
        host: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The answer breaks the protocol.
    #[error("{step} at {host}: {reason}")]
    Protocol {
        /// What was being done.
        step: String,
        /// The host.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document is larger than its bound.
    #[error("{what} measures {size} bytes, more than the {limit} allowed: resource exhausted")]
    TooLarge {
        /// The document.
        what: String,
        /// Its size, or as much as was read of it.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// The bytes are not those that the digest names.
    #[error(
        "{what}: registry sent bytes with digest {actual}, pull from another or push it anew: failed precondition"
    )]
    WrongDigest {
        /// The document.
        what: String,
        /// What came.
        actual: Digest,
    },
    /// The registry says another size than the descriptor.
    #[error(
        "blob {digest} at {host}: descriptor says {expected} bytes, registry {actual}, pull from another or push it anew: failed precondition"
    )]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// The host.
        host: String,
        /// The descriptor's size.
        expected: u64,
        /// What the host says or sent.
        actual: u64,
    },
    /// The blob's bytes ended early, again and again.
    #[error(
        "blob {digest} at {host}: ended after {at} of {size} bytes, {tries} times, pull again: unavailable"
    )]
    Truncated {
        /// The blob.
        digest: Digest,
        /// The host.
        host: String,
        /// Bytes that came.
        at: u64,
        /// Bytes that should have come.
        size: u64,
        /// Tries without a byte more.
        tries: u32,
    },
    /// A manifest, index or configuration that cannot be used.
    #[error("{what}: {reason}: invalid argument")]
    Document {
        /// Its kind and digest.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob that is to be pushed could not be read.
    #[error("read {digest} to push it")]
    Source {
        /// The blob.
        digest: Digest,
        /// What the file system says.
        #[source]
        source: std::io::Error,
    },
}

/// What to do about a registry's status.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => ", see that name and tag are right",
        StatusCode::FORBIDDEN => ", log in as somebody who may do this",
        status if is_busy(status) => ", try again later",
        _ => "",
    }
}

/// The code that a registry's status stands for.
pub(super) fn code_of_status(status: StatusCode) -> Code {
    match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::RANGE_NOT_SATISFIABLE => Code::OutOfRange,
        status if status.is_server_error() => Code::Unavailable,
        _ => Code::Unknown,
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Reference { .. } | Error::Document { .. } => Code::InvalidArgument,
            Error::NoHost { .. } | Error::NoManifest(_) | Error::NoContent { .. } => Code::NotFound,
            Error::HostsFile { .. }
            | Error::Tls { .. }
            | Error::WrongDigest { .. }
            | Error::WrongSize { .. } => Code::FailedPrecondition,
            Error::CredentialsSource { .. }
            | Error::Connection { .. }
            | Error::Truncated { .. } => Code::Unavailable,
            Error::Recorded(error) => error.code(),
            Error::Stalled { .. } => Code::DeadlineExceeded,
            Error::Status { status, .. } => code_of_status(*status),
            Error::Unauthorized { .. } => Code::Unauthenticated,
            Error::Protocol { .. } => Code::Unknown,
            Error::TooLarge { .. } => Code::ResourceExhausted,
            Error::Source { source, .. } => berth_errors::code_of_io(source),
        }
    }
}

impl Error {
    /// As [`Error::NoContent`] where it says that the host does not have the object.
    pub(super) fn of_content(self, host: &Host, descriptor: &Descriptor) -> Self {
        match self {
            Error::Status { status: StatusCode::NOT_FOUND, step, .. } => Error::NoContent {
                step,
                host: host.endpoint.host.clone(),
                digest: descriptor.digest.clone(),
                media_type: descriptor.media_type.clone(),
            },
            other => other,
        }
    }

    /// How much a host's failure says of the object, if another host of the same registry may do
    /// better: the failure that says most is told when all fail. As containerd ranks them.
    pub(super) fn weight(&self) -> Option<u8> {
        match self {
            Error::Connection { .. } | Error::Stalled { .. } => Some(1),
            Error::Status { status: StatusCode::NOT_FOUND, .. } | Error::NoContent { .. } => {
                Some(2)
            }
            Error::Status { .. }
            | Error::Unauthorized { .. }
            | Error::Protocol { .. }
            | Error::WrongDigest { .. }
            | Error::WrongSize { .. }
            | Error::Truncated { .. } => Some(3),
            _ => None,
        }
    }
}
