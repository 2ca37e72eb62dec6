//! What can go wrong here, and the code a caller sees. The wording is containerd's where a client
//! may compare it.

use std::path::PathBuf;

use berth_errors::{Code, Coded, code_of_io};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the runtime service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such container.
    #[error("container {id:?} in namespace {namespace:?}: not found")]
    ContainerNotFound {
        /// Its name.
        id: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// No container to change.
    #[error("container {0:?}: not found")]
    NoContainer(String),
    /// No container to delete.
    #[error("container {0}: not found")]
    NoContainerToDelete(String),
    /// The name of a container is taken.
    #[error("container {0:?}: already exists")]
    ContainerExists(String),
    /// No such sandbox.
    #[error("sandbox {0:?}: not found")]
    SandboxNotFound(String),
    /// The name of a sandbox is taken.
    #[error("sandbox {0:?}: already exists")]
    SandboxExists(String),
    /// A name or a label is not allowed.
    #[error("{what}: {source}")]
    Name {
        /// Which part of the request.
        what: &'static str,
        /// Why not.
        source: berth_ids::Error,
    },
    /// A part of a name is not allowed.
    #[error(transparent)]
    Identifier(berth_ids::Error),
    /// A field that must be set is not, or one that must not change would.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// A filter cannot be understood.
    #[error(transparent)]
    Filter(#[from] berth_filters::Error),
    /// The container has no task.
    #[error("task {0} not found")]
    TaskNotFound(String),
    /// The container has a task already, or one is being made.
    #[error("task {0}: already exists")]
    TaskExists(String),
    /// The namespace is being deleted.
    #[error("namespace {0:?} is being deleted, try again later: unavailable")]
    Fenced(String),
    /// Another run of the process had the epoch, or it is over.
    #[error("epoch {0} is not open in this run of runtime, begin another: aborted")]
    Epoch(u64),
    /// The sandbox is there and runs.
    #[error("sandbox {0} already running: already exists")]
    SandboxRuns(String),
    /// The sandbox is not run by this node's controller.
    #[error("unable to find sandbox {0:?}: not found")]
    NoSandbox(String),
    /// The sandbox of a container has no shim that could be joined.
    #[error("can't find shim for sandbox {0}: not found")]
    NoSandboxShim(String),
    /// Nobody of that name runs sandboxes.
    #[error("failed to get sandbox controller by {0}: not found")]
    NoSandboxer(String),
    /// A sandbox controller in a process of its own refused or did not answer.
    #[error("{message}")]
    Sandboxer {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
    /// A sandbox controller in a process of its own says that a shim is where none can be.
    #[error(
        "sandbox controller {sandboxer} gave an address of sandbox {sandbox} that cannot be used: {why}"
    )]
    BadEndpoint {
        /// The controller.
        sandboxer: String,
        /// The sandbox.
        sandbox: String,
        /// What is wrong with it.
        why: String,
    },
    /// A step of a greater one failed; the text names the greater one.
    #[error("{step}")]
    Within {
        /// containerd's prefix of the message.
        step: String,
        /// What went wrong.
        #[source]
        source: Box<Error>,
    },
    /// The OCI runtime does not do what a specification asks for, or does not say so.
    #[error("failed to validate OCI runtime features: {0}")]
    Features(String),
    /// The runtime's name leads to no shim.
    #[error("failed to resolve runtime path: {0}")]
    NoRuntime(String),
    /// A shim's program failed or did not answer as it must.
    #[error("{step}: {program}: {why}")]
    ShimProgram {
        /// What it was run for.
        step: &'static str,
        /// The shim's program.
        program: PathBuf,
        /// What it said.
        why: String,
    },
    /// A program could not be run.
    #[error("{step}")]
    Child {
        /// What it was run for.
        step: &'static str,
        /// What went wrong.
        #[source]
        source: berth_lifecycle::Error,
    },
    /// A call of a shim failed.
    #[error("{step}{source}")]
    Shim {
        /// containerd's prefix of the message, with its colon, or nothing.
        step: &'static str,
        /// The shim's answer or why there is none.
        source: berth_ttrpc::Error,
    },
    /// Nobody holds the connection to the task's shim.
    #[error("shim of task {0} is gone, its end is being recorded: unavailable")]
    ShimGone(String),
    /// Something in a task's folder failed.
    #[error("{step} {path}", path = path.display())]
    Bundle {
        /// What was done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A rootfs could not be unmounted.
    #[error("unmount rootfs of task {id}")]
    Unmount {
        /// The task.
        id: String,
        /// Why.
        #[source]
        source: Box<berth_mount::Error>,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] berth_store::Error),
    /// Another service refused or is away.
    #[error("{step}: {message}")]
    Peer {
        /// What was asked.
        step: &'static str,
        /// Its answer.
        message: String,
        /// Its code.
        code: Code,
    },
    /// A task of ours was cut off.
    #[error("{0} was cut off, the service is stopping: unavailable")]
    Stopping(&'static str),
    /// A checkpoint has files with it that would have to be applied.
    #[error(
        "restore with {path}: apply it to the container's snapshot and take it away: not implemented",
        path = .0.display()
    )]
    RootfsDiff(PathBuf),
    /// Not provided yet.
    #[error("{0}: not implemented")]
    Unimplemented(&'static str),
}

impl Error {
    /// For `map_err`: says of which step an error is a part.
    pub(crate) fn within(step: impl Into<String>) -> impl FnOnce(Error) -> Error {
        let step = step.into();
        move |source| Error::Within { step, source: Box::new(source) }
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Code::NotFound
    }

    /// Whether a shim said no; of others nobody knows whether it has done what it was asked to.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let said = matches!(self, Error::Shim { source: berth_ttrpc::Error::Remote { .. }, .. });
        said && !matches!(self.code(), Code::DeadlineExceeded | Code::Cancelled)
    }

    /// Whether the connection to the shim has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        use berth_ttrpc::Error as Ttrpc;
        let ended = |e: &Ttrpc| {
            matches!(
                e,
                Ttrpc::Closed { .. } | Ttrpc::Connect { .. } | Ttrpc::Io(_) | Ttrpc::Hung(_)
            )
        };
        matches!(self, Error::Shim { source, .. } if ended(source))
            || matches!(self, Error::ShimGone(_))
            || matches!(self, Error::Within { source, .. } if source.is_closed())
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::ContainerNotFound { .. }
            | Error::NoContainer(_)
            | Error::NoContainerToDelete(_)
            | Error::SandboxNotFound(_)
            | Error::NoSandbox(_)
            | Error::NoSandboxShim(_)
            | Error::NoSandboxer(_)
            | Error::TaskNotFound(_) => Code::NotFound,
            Error::ContainerExists(_)
            | Error::SandboxExists(_)
            | Error::SandboxRuns(_)
            | Error::TaskExists(_) => Code::AlreadyExists,
            Error::Within { source, .. } => source.code(),
            Error::Name { source, .. } | Error::Identifier(source) => source.code(),
            Error::Invalid(_) => Code::InvalidArgument,
            Error::Filter(error) => error.code(),
            Error::Fenced(_) | Error::ShimGone(_) | Error::Stopping(_) => Code::Unavailable,
            Error::Epoch(_) => Code::Aborted,
            // As containerd has it.
            Error::ShimProgram { .. } | Error::NoRuntime(_) | Error::Features(_) => Code::Unknown,
            Error::BadEndpoint { .. } => Code::Internal,
            Error::Child { source, .. } => source.code(),
            Error::Shim { source, .. } => source.code(),
            Error::Bundle { source, .. } => code_of_io(source),
            Error::Unmount { source, .. } => source.code(),
            Error::Store(error) => error.code(),
            Error::Peer { code, .. } | Error::Sandboxer { code, .. } => *code,
            Error::Unimplemented(_) | Error::RootfsDiff(_) => Code::Unimplemented,
        }
    }
}
