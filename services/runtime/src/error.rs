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
    /// A network, or what is attached to one.
    #[error(transparent)]
    Network(#[from] crate::networks::fault::Fault),
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
            Error::ShimProgram { why, .. } => code_of_words(why),
            // As containerd has it.
            Error::NoRuntime(_) | Error::Features(_) => Code::Unknown,
            Error::BadEndpoint { .. } => Code::Internal,
            Error::Child { source, .. } => source.code(),
            Error::Shim { source, .. } => match source.code() {
                Code::Unknown => code_of_words(&source.to_string()),
                code => code,
            },
            Error::Bundle { source, .. } => code_of_io(source),
            Error::Unmount { source, .. } => source.code(),
            Error::Store(error) => error.code(),
            Error::Network(fault) => fault.code(),
            Error::Peer { code, .. } | Error::Sandboxer { code, .. } => *code,
            Error::Unimplemented(_) | Error::RootfsDiff(_) => Code::Unimplemented,
        }
    }
}

/// What a program says when it has run out of something: the C library, Go and Rust in the kernel's
/// words; the loader, which has no words for most numbers, with the number or in its own.
const RAN_OUT: [&str; 8] = [
    "too many open files",
    "cannot allocate memory",
    "resource temporarily unavailable",
    "no space left on device",
    "disk quota exceeded",
    "error 23",
    "error 24",
    "failed to map segment from shared object",
];

/// The code of what a shim's program, or runc by way of it, has said of its failure. Neither gives one:
/// it is UNKNOWN as with containerd, but for what tells to make room and try again.
fn code_of_words(words: &str) -> Code {
    // A reason follows a colon; names of files and arguments may be anything.
    let mut reasons = words.split(": ").skip(1).map(|reason| reason.trim_start().to_lowercase());
    let ran_out = |reason: String| RAN_OUT.iter().any(|words| begins(&reason, words));
    match reasons.any(ran_out) {
        true => Code::ResourceExhausted,
        false => Code::Unknown,
    }
}

/// Whether a text begins with these whole words.
fn begins(text: &str, words: &str) -> bool {
    let rest = text.strip_prefix(words);
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(why: &str) -> Error {
        let program = "/usr/bin/containerd-shim-runc-v2".into();
        Error::ShimProgram { step: "start failed", program, why: why.into() }
    }

    fn answer(code: Code, message: &str) -> Error {
        let source = berth_ttrpc::Error::Remote { code, message: message.into() };
        Error::Shim { step: "failed to create shim task: ", source }
    }

    #[test]
    fn a_shim_that_has_run_out_of_something_is_resource_exhausted() {
        for why in [
            "containerd-shim-runc-v2: start the shim: Too many open files (os error 24): exit status 1",
            "error while loading shared libraries: libgcc_s.so.1: cannot open shared object file: \
             Error 24: exit status 127",
            "error while loading shared libraries: libc.so.6: failed to map segment from shared \
             object: exit status 127",
            "start the shim: Cannot allocate memory (os error 12): exit status 1",
            "start the runtime: Too many open files in system (os error 23): exit status 1",
            "fork/exec /usr/bin/shim: resource temporarily unavailable: exit status 1",
        ] {
            assert_eq!(program(why).code(), Code::ResourceExhausted, "{why}");
        }
    }

    #[test]
    fn so_is_a_runtime_below_it() {
        let why = "OCI runtime create failed: unable to start container process: open /proc/self/fd: \
                   too many open files";
        assert_eq!(answer(Code::Unknown, why).code(), Code::ResourceExhausted);
        let step = Error::within("create")(answer(Code::Unknown, why));
        assert_eq!(step.code(), Code::ResourceExhausted);
        // What has a code keeps it.
        assert_eq!(answer(Code::NotFound, why).code(), Code::NotFound);
    }

    #[test]
    fn what_else_fails_there_is_unknown_as_with_containerd() {
        for why in [
            "exit status 1",
            "signal: 9 (SIGKILL)",
            "exec \"too many open files\": executable file not found in $PATH: exit status 1",
            "exec: \"sh\": Error 240: exit status 1",
            "stat /too many open files: no such file or directory",
        ] {
            assert_eq!(program(why).code(), Code::Unknown, "{why}");
            assert_eq!(answer(Code::Unknown, why).code(), Code::Unknown, "{why}");
        }
    }
}
