//! The crate's one error enum.
//!
//! Owns: the wording (containerd's, where clients compare it) and the code of every failure of this
//! service. Must not know: any wire type.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_errors::{Code, Coded, code_of_io};
use berth_ids::{Digest, DigestFault};
use time::OffsetDateTime;

/// What the domain of this service answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the distribution service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name, label or digest is not allowed.
    #[error(transparent)]
    Name(#[from] berth_ids::Error),
    /// A label of an object is too long.
    #[error("{object}.Labels: {source}")]
    Label {
        /// The kind of object.
        object: &'static str,
        /// What is wrong with it.
        source: berth_ids::Error,
    },
    /// A field that the request cannot do without is missing or out of range.
    #[error("{0}: invalid argument")]
    Required(&'static str),
    /// A filter expression does not parse.
    #[error("{reason}: invalid argument")]
    Filter {
        /// What the parser said.
        reason: String,
    },

    /// The namespace has no such blob.
    #[error("content digest {0}: not found")]
    ContentNotFound(Digest),
    /// The namespace has the blob already.
    #[error("content {0}: already exists")]
    ContentExists(Digest),
    /// No ingest goes by this reference.
    #[error("reference {0}: not found")]
    IngestNotFound(String),
    /// Another writer has the reference open.
    #[error("ref {reference} locked for {held:?} (since {since}): unavailable")]
    RefLocked {
        /// The reference.
        reference: String,
        /// For how long it has been held.
        held: Duration,
        /// Since when.
        since: OffsetDateTime,
    },
    /// A write is not at the end of what has been written.
    #[error("write @{asked} must occur at current offset {actual}")]
    WrongOffset {
        /// Where the caller wanted to write.
        asked: u64,
        /// Where the next byte goes.
        actual: u64,
    },
    /// A read starts behind the blob's end.
    #[error("read past object length {0} bytes")]
    PastEnd(u64),
    /// An ingest has not the size that it was to have.
    #[error("{reference:?} failed size validation: {actual} != {expected}: failed precondition")]
    WrongSize {
        /// The ingest.
        reference: String,
        /// Bytes written.
        actual: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// An ingest has not the digest that it was to have.
    #[error("unexpected commit digest {actual}, expected {expected}: failed precondition")]
    WrongDigest {
        /// Digest of what was written.
        actual: Digest,
        /// Digest announced.
        expected: Digest,
    },
    /// A blob is larger than the reader accepts.
    #[error(
        "content {digest} has {size} bytes, more than the {max} that are read at once: invalid argument"
    )]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// A blob's file is missing or shorter than recorded.
    #[error("content {digest}: its file ends at {at} of {size} bytes, fetch it again: data loss")]
    ShortBlob {
        /// The blob.
        digest: Digest,
        /// Bytes there.
        at: u64,
        /// Bytes recorded.
        size: u64,
    },

    /// The namespace has no such image.
    #[error("image {0:?}: not found")]
    ImageNotFound(String),
    /// The namespace has the image already.
    #[error("image {0:?}: already exists")]
    ImageExists(String),
    /// An image was to be deleted only if it still named another target.
    #[error("image {name:?} has target {actual}, not {expected}: not found")]
    ImageMoved {
        /// The image.
        name: String,
        /// What it names.
        actual: Digest,
        /// What the caller believed.
        expected: String,
    },
    /// An image's target has no valid digest.
    #[error("target.Digest {digest:?} invalid: {fault}: invalid argument")]
    TargetDigest {
        /// The text given.
        digest: String,
        /// What is wrong with it.
        fault: DigestFault,
    },

    /// There is no such namespace.
    #[error("namespace {0:?}: not found")]
    NamespaceNotFound(String),
    /// A field of namespaces that no update may name.
    #[error("cannot update {0:?} field")]
    NamespaceField(String),
    /// The namespace exists already.
    #[error("namespace {0:?}: already exists")]
    NamespaceExists(String),
    /// A namespace to be deleted still has objects.
    #[error("namespace {namespace:?} must be empty, but it still has {kinds}: failed precondition")]
    NamespaceNotEmpty {
        /// The namespace.
        namespace: String,
        /// What kinds of objects it has.
        kinds: String,
    },
    /// A namespace is being deleted at this moment.
    #[error("namespace {0:?} is being deleted, try again: unavailable")]
    NamespaceFenced(String),

    /// The namespace has no such lease.
    #[error("lease {0:?}: not found")]
    LeaseNotFound(String),
    /// The namespace has the lease already.
    #[error("lease {0:?}: already exists")]
    LeaseExists(String),
    /// The lease under which a call is made is not there.
    #[error("lease does not exist: not found")]
    LeaseMissing(String),
    /// A lease cannot hold this kind of resource.
    #[error("resource type {0} not supported yet: not implemented")]
    ResourceType(String),
    /// The resource's kind has parts that it cannot have.
    #[error("invalid resource type {0}: invalid argument")]
    ResourceForm(String),
    /// The resource's kind does not name one snapshotter.
    #[error("invalid snapshot resource type {0}: invalid argument")]
    SnapshotForm(String),
    /// The resource is content, and its id no digest.
    #[error("invalid content resource id {id}: {fault}: invalid argument")]
    ContentId {
        /// The text given.
        id: String,
        /// What is wrong with it.
        fault: DigestFault,
    },

    /// A system call on a file failed.
    #[error("{step} {}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store did not read or commit.
    #[error(transparent)]
    Store(#[from] berth_store::Error),
    /// A neighbour did not do what it was asked for.
    #[error("{service}: {step}: {message}")]
    Neighbour {
        /// Which one.
        service: &'static str,
        /// What was asked of it.
        step: &'static str,
        /// The code that it answered with.
        code: Code,
        /// What it said.
        message: String,
    },
    /// A content store in a process of its own refused or did not answer.
    #[error("{step} at content store {name}: {message}")]
    ContentStore {
        /// Its name.
        name: String,
        /// What was asked of it.
        step: &'static str,
        /// The code that it answered with.
        code: Code,
        /// What it said.
        message: String,
    },
    /// A collection was given up before its end; nothing in use was dropped.
    #[error("collection {epoch} was given up, {why}, try again: aborted")]
    CollectionAborted {
        /// Its epoch.
        epoch: u64,
        /// What happened.
        why: &'static str,
    },
    /// The process ends before the work was done.
    #[error("{0} was given up, distribution is stopping, try again: unavailable")]
    Stopping(&'static str),
    /// A worker thread ended before its work was done.
    #[error("{0} did not finish: internal")]
    Worker(&'static str),
}

impl Error {
    /// Names the step and the file of a failed system call.
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Self::Name(error) => error.code(),
            Self::Label { .. }
            | Self::Required(_)
            | Self::NamespaceField(_)
            | Self::Filter { .. }
            | Self::TooLarge { .. }
            | Self::TargetDigest { .. }
            | Self::ResourceForm(_)
            | Self::SnapshotForm(_)
            | Self::ContentId { .. } => Code::InvalidArgument,
            Self::ContentNotFound(_)
            | Self::IngestNotFound(_)
            | Self::ImageNotFound(_)
            | Self::ImageMoved { .. }
            | Self::NamespaceNotFound(_)
            | Self::LeaseNotFound(_)
            | Self::LeaseMissing(_) => Code::NotFound,
            Self::ContentExists(_)
            | Self::ImageExists(_)
            | Self::NamespaceExists(_)
            | Self::LeaseExists(_) => Code::AlreadyExists,
            Self::RefLocked { .. } | Self::NamespaceFenced(_) | Self::Stopping(_) => {
                Code::Unavailable
            }
            Self::WrongOffset { .. } | Self::PastEnd(_) => Code::OutOfRange,
            Self::WrongSize { .. } | Self::WrongDigest { .. } | Self::NamespaceNotEmpty { .. } => {
                Code::FailedPrecondition
            }
            Self::ShortBlob { .. } => Code::DataLoss,
            Self::ResourceType(_) => Code::Unimplemented,
            Self::Io { source, .. } => code_of_io(source),
            Self::Store(error) => error.code(),
            Self::Neighbour { code, .. } | Self::ContentStore { code, .. } => *code,
            Self::CollectionAborted { .. } => Code::Aborted,
            Self::Worker(_) => Code::Internal,
        }
    }
}
