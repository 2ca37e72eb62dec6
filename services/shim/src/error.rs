//! What can go wrong, each with its code; the wording is containerd's where clients compare it.

use std::time::Duration;

use berth_errors::{Code, Coded};

/// An error of the shim.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// What arrived on standard input, or in a request, cannot be read.
    #[error("{what}: {reason}: invalid argument")]
    Invalid {
        /// The thing.
        what: String,
        /// Why.
        reason: String,
    },
    /// The container has not been created here.
    #[error("container {0:?} not created: not found")]
    NoContainer(String),
    /// The shim has no such sandbox.
    #[error("sandbox {0:?}: not found")]
    NoSandbox(String),
    /// The container has no such process.
    #[error("process does not exist {0}: not found")]
    NoProcess(String),
    /// A control group, such as the one that the shim is to live in.
    #[error(transparent)]
    Cgroup(#[from] berth_cgroup::Error),
    /// The identifier is in use.
    #[error("id {0}: already exists")]
    Exists(String),
    /// The process has ended, there is nothing to signal.
    #[error("process already finished: not found")]
    Finished,
    /// The state of the process does not allow this.
    #[error("{0}: failed precondition")]
    State(&'static str),
    /// A verb of the task service that the state of the process does not allow. As containerd's
    /// shim has it, which gives these no code.
    #[error("{0}")]
    Transition(&'static str),
    /// The first process ended between create and start. The first words are those of containerd's shim.
    #[error(
        "cannot start a stopped process: the first process of container {container} ended before it was \
         started, with exit status {status}{}, delete the task and create it again",
        killed(*status)
    )]
    EndedEarly {
        /// The container.
        container: String,
        /// As [`crate::children::Exit`] has it.
        status: u32,
    },
    /// What runs in the container is being written to a checkpoint, which may take minutes.
    #[error("container {0} is being checkpointed, try again when that has ended: unavailable")]
    Dumping(String),
    /// What ran in the container is being restored from a checkpoint, which may take minutes.
    #[error("container {0} is being restored, try again when that has ended: unavailable")]
    Restoring(String),
    /// The container has no process of that identifier yet.
    #[error("container {0} init process is not running: failed precondition")]
    InitExited(String),
    /// The OCI runtime refused; its own words follow what was asked of it.
    #[error("{what}: {message}")]
    Runtime {
        /// Such as `OCI runtime create failed`.
        what: &'static str,
        /// The runtime's words.
        message: String,
    },
    /// The OCI runtime is not installed.
    #[error(
        "start {0}: no such program on PATH, install runc or set `binary` of [runtime] in \
         berth.toml: failed precondition"
    )]
    NoRuntime(String),
    /// A program did not end in time and was killed.
    #[error("{program} did not end within {after:?}: context deadline exceeded")]
    Deadline {
        /// The program.
        program: String,
        /// The bound.
        after: Duration,
    },
    /// runc did not end in time, and was killed.
    #[error(
        "container {container}: {command} did not end within {after:.1?} and was killed, {advice}: \
         context deadline exceeded"
    )]
    Late {
        /// The container.
        container: String,
        /// The program and what it was to do, such as `runc create`.
        command: String,
        /// The bound.
        after: Duration,
        /// What to look for.
        advice: &'static str,
    },
    /// A feature that this shim does not have.
    #[error("{0}: not implemented")]
    Unimplemented(&'static str),
    /// Something on the file system or in the kernel failed.
    #[error("{step}: {source}")]
    Io {
        /// What was being done, with the object.
        step: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The root file system cannot be mounted or unmounted.
    #[error("rootfs: {0}")]
    Mount(#[from] berth_mount::Error),
    /// Serving or calling failed.
    #[error(transparent)]
    Ttrpc(#[from] berth_ttrpc::Error),
}

/// Says which signal an exit status tells of.
fn killed(status: u32) -> String {
    match status.checked_sub(128).filter(|signal| (1..=64).contains(signal)) {
        Some(signal) => format!(" (killed by signal {signal})"),
        None => String::new(),
    }
}

impl Error {
    /// For `map_err`: an error of the operating system in a step.
    pub(crate) fn io(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let step = step.into();
        move |source| Error::Io { step, source }
    }

    /// For `map_err`: a thing that cannot be read.
    pub(crate) fn invalid<E: std::fmt::Display>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Error {
        let what = what.into();
        move |reason| Error::Invalid { what, reason: reason.to_string() }
    }
}

impl From<std::io::Error> for Error {
    /// For errors of `fs_err`, which name file and step themselves.
    fn from(source: std::io::Error) -> Error {
        Error::Io { step: "bundle".into(), source }
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Usage(_) | Error::Invalid { .. } => Code::InvalidArgument,
            Error::NoContainer(_) | Error::NoSandbox(_) | Error::NoProcess(_) | Error::Finished => {
                Code::NotFound
            }
            Error::Exists(_) => Code::AlreadyExists,
            Error::State(_) | Error::InitExited(_) | Error::NoRuntime(_) => {
                Code::FailedPrecondition
            }
            Error::Runtime { .. } | Error::Transition(_) | Error::EndedEarly { .. } => {
                Code::Unknown
            }
            Error::Dumping(_) | Error::Restoring(_) => Code::Unavailable,
            Error::Deadline { .. } | Error::Late { .. } => Code::DeadlineExceeded,
            Error::Unimplemented(_) => Code::Unimplemented,
            Error::Io { source, .. } => berth_errors::code_of_io(source),
            Error::Mount(error) => error.code(),
            Error::Cgroup(error) => error.code(),
            Error::Ttrpc(error) => error.code(),
        }
    }
}
