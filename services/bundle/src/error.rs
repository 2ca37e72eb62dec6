//! Why bundle could not do what it was asked: one variant per kind of failure, one code each.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use berth_errors::{Code, Coded, code_of_io};

use crate::layer::tar::Failure;

/// Bundle's errors. Messages follow containerd's wording where clients know it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer asks for what no layer may.
    #[error("layer {layer}: entry {entry:?}: {reason}: invalid argument")]
    Hostile {
        /// The layer's digest or name.
        layer: String,
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A layer's bytes are no tar archive, or end too early.
    #[error("layer {layer}: after entry {entry:?}: {failure}: invalid argument")]
    Malformed {
        /// The layer's digest or name.
        layer: String,
        /// The last entry that was read.
        entry: String,
        /// What is wrong.
        #[source]
        failure: Failure,
    },
    /// A layer goes beyond one of its bounds.
    #[error("layer {layer}: entry {entry:?}: more than {bound} {what}: resource exhausted")]
    Bound {
        /// The layer's digest or name.
        layer: String,
        /// The entry at which it happened.
        entry: String,
        /// The bound.
        bound: u64,
        /// Of what.
        what: &'static str,
    },
    /// What should be an EROFS image is none that can be used.
    #[error("layer {layer}: {reason}: invalid argument")]
    Image {
        /// The layer's digest or name.
        layer: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A compression of images that nobody makes.
    #[error("unsupported erofs layer suffix: {0}")]
    ImageSuffix(String),
    /// The bytes of a layer stopped coming, or cannot be inflated.
    #[error("layer {layer}: read it")]
    Input {
        /// The layer's digest or name.
        layer: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// A system call on behalf of a layer's entry failed.
    #[error("layer {layer}: entry {entry:?}: {step}")]
    Entry {
        /// The layer's digest or name.
        layer: String,
        /// The entry's name.
        entry: String,
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A media type that is not a layer's, and that no stream processor accepts.
    #[error(
        "layer {layer}: failed to get stream processor for {media_type}: no processor for media-type"
    )]
    MediaType {
        /// The layer's digest or name.
        layer: String,
        /// The media type.
        media_type: String,
    },
    /// A stream processor did not end well.
    #[error("layer {layer}: stream processor {id} ({path}){}: {said}", ended(status.as_ref()))]
    Processor {
        /// The layer's digest or name.
        layer: String,
        /// The program's ID in the configuration.
        id: String,
        /// The program.
        path: String,
        /// How it ended, if it did by itself.
        status: Option<ExitStatus>,
        /// What it has said of it.
        said: String,
    },
    /// A media type that no layer is made with.
    #[error("unsupported diff media type: {0}: not implemented")]
    DiffType(String),
    /// Something failed while a layer was applied that does not tell which.
    #[error("apply layer {layer}")]
    Layer {
        /// The layer's digest or name.
        layer: String,
        /// What failed.
        #[source]
        source: Box<Error>,
    },
    /// A step on a file or directory of bundle's own failed.
    #[error("{step} {}", path.display())]
    File {
        /// What was being done.
        step: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A mount could not be made or undone.
    #[error(transparent)]
    Mount(#[from] berth_mount::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] berth_store::Error),
    /// Distribution refused or did not answer.
    #[error("{step}: {message}")]
    Peer {
        /// What was asked of it.
        step: &'static str,
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
    /// A descriptor could not be claimed from distribution.
    #[error("claim descriptor")]
    Claim(#[from] berth_fdpass::Error),
    /// The service's socket could not be bound.
    #[error(transparent)]
    Socket(#[from] berth_grpc::Error),
    /// Work was cut off or panicked.
    #[error(transparent)]
    Lifecycle(#[from] berth_lifecycle::Error),
    /// A name is not allowed.
    #[error(transparent)]
    Name(#[from] berth_ids::Error),
    /// A snapshot's labels are not allowed.
    #[error("info.Labels: {0}")]
    Labels(#[source] berth_ids::Error),
    /// Nothing is called so.
    #[error("{kind} {name:?}: not found")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Something is called so already.
    #[error("{kind} {name:?}: already exists")]
    Exists {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A snapshot that a call is about is not there.
    #[error("{what} {name} does not exist: not found")]
    Missing {
        /// `snapshot` or `parent snapshot`.
        what: &'static str,
        /// Its key or name.
        name: String,
    },
    /// No snapshotter of this node is called so.
    #[error("snapshotter not loaded: {0}: invalid argument")]
    NotLoaded(String),
    /// A snapshotter has not what it needs here, which containerd's clients know by these words.
    #[error("{0}: skip plugin")]
    Skipped(String),
    /// A snapshotter in a process of its own refused or did not answer.
    #[error("{message}")]
    Snapshotter {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
    /// A differ in a process of its own refused, did not answer, or answered what cannot be.
    #[error("{message}")]
    Differ {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
    /// A snapshotter had in place of what was to be prepared what it stands for.
    #[error("target snapshot {name:?} from snapshotter: already exists")]
    ExistsThere {
        /// The target.
        name: String,
    },
    /// A snapshotter said that it has a target, and has none.
    #[error("target snapshot {name:?} in backend: not found")]
    NoTarget {
        /// The target.
        name: String,
    },
    /// Another run of the process had the epoch, or it is over.
    #[error("epoch {0} is not open in this run of bundle, begin another: aborted")]
    Epoch(u64),
    /// The object's state does not allow it.
    #[error("{what} {name:?}: {reason}: failed precondition")]
    State {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// What is asked for is not done here.
    #[error("{what} {name:?}: {reason}: not implemented")]
    Unsupported {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is not done.
        reason: &'static str,
    },
    /// The request cannot be right.
    #[error("{what} {value:?}: {reason}: invalid argument")]
    Argument {
        /// Which part of it.
        what: &'static str,
        /// What it said.
        value: String,
        /// What is wrong with that.
        reason: &'static str,
    },
}

impl Error {
    /// There is no such snapshot.
    pub(crate) fn missing_snapshot(key: &str) -> Self {
        Error::Missing { what: "snapshot", name: key.to_owned() }
    }

    /// There is no such parent.
    pub(crate) fn missing_parent(parent: &str) -> Self {
        Error::Missing { what: "parent snapshot", name: parent.to_owned() }
    }

    /// An answer of a snapshotter that callers would take for another: they asked for no target.
    pub(crate) fn unexpected_there(self) -> Self {
        let message = format!("unexpected error from snapshotter: {self}");
        Error::Snapshotter { code: Code::Unknown, message }
    }

    /// The same error, telling during which layer it happened.
    pub(crate) fn of_layer(self, layer: &str) -> Self {
        match self {
            Error::Hostile { .. }
            | Error::Malformed { .. }
            | Error::Bound { .. }
            | Error::Image { .. }
            | Error::Input { .. }
            | Error::Entry { .. }
            | Error::MediaType { .. }
            | Error::Processor { .. }
            | Error::Layer { .. } => self,
            other => Error::Layer { layer: layer.to_owned(), source: Box::new(other) },
        }
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Malformed { failure: Failure::Read(source), .. }
            | Error::Input { source, .. } => match code_of_io(source) {
                // A decoder's complaint about the bytes themselves.
                Code::Internal if source.raw_os_error().is_none() => Code::InvalidArgument,
                code => code,
            },
            Error::Malformed { failure, .. } if failure.is_bound() => Code::ResourceExhausted,
            Error::Hostile { .. } | Error::Malformed { .. } => Code::InvalidArgument,
            Error::Image { .. } => Code::InvalidArgument,
            Error::Bound { .. } => Code::ResourceExhausted,
            Error::Entry { source, .. } | Error::File { source, .. } => code_of_io(source),
            Error::Unsupported { .. } => Code::Unimplemented,
            Error::Layer { source, .. } => source.code(),
            // As containerd's own errors without a code.
            Error::MediaType { .. }
            | Error::Processor { .. }
            | Error::ImageSuffix(_)
            | Error::Skipped(_) => Code::Unknown,
            Error::DiffType(_) => Code::Unimplemented,
            Error::Mount(error) => error.code(),
            Error::Store(error) => error.code(),
            Error::Peer { code, .. } => *code,
            Error::Claim(error) => error.code(),
            Error::Socket(error) => error.code(),
            Error::Lifecycle(error) => error.code(),
            Error::Name(error) | Error::Labels(error) => error.code(),
            Error::NotFound { .. } | Error::Missing { .. } | Error::NoTarget { .. } => {
                Code::NotFound
            }
            Error::Exists { .. } | Error::ExistsThere { .. } => Code::AlreadyExists,
            Error::NotLoaded(_) => Code::InvalidArgument,
            Error::Snapshotter { code, .. } | Error::Differ { code, .. } => *code,
            Error::Epoch(_) => Code::Aborted,
            Error::State { .. } => Code::FailedPrecondition,
            Error::Argument { .. } => Code::InvalidArgument,
        }
    }
}

fn ended(status: Option<&ExitStatus>) -> String {
    status.map(|status| format!(": {status}")).unwrap_or_default()
}
