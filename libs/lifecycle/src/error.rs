//! What can go wrong with a task, a child or a pipe of the supervisor.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use berth_errors::{Code, Coded, code_of_io};

/// A failure of a process's own machinery.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("start {program:?}: {source}")]
    Start {
        /// The program as it was named.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reading from or waiting for a started program failed.
    #[error("{step} {program:?}: {source}")]
    Talk {
        /// What was being done, a verb and a preposition.
        step: &'static str,
        /// The program as it was named.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program did not end in time and was killed.
    #[error(
        "{program:?} did not end within {deadline:?} and was killed: context deadline exceeded"
    )]
    Deadline {
        /// The program as it was named.
        program: String,
        /// The time it had.
        deadline: Duration,
    },
    /// The program wrote more than anybody would read and was killed.
    #[error("{program:?} wrote more than {limit} bytes and was killed: resource exhausted")]
    TooMuchOutput {
        /// The program as it was named.
        program: String,
        /// The bound, for each of its outputs.
        limit: usize,
    },
    /// Code in the blocking pool panicked.
    #[error("{0} panicked; see the log for where")]
    Panicked(&'static str),
    /// The runtime ended before code in the blocking pool did.
    #[error("{0} was cut off because the process is ending: unavailable")]
    CutOff(&'static str),
    /// A folder or file of the node could not be made or used.
    #[error("{step} {path:?}: {source}")]
    Folder {
        /// What was being done.
        step: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The root is containerd's.
    #[error(
        "{database:?} is containerd's: berth keeps its own stores, choose another --root (images can be pulled or imported again)"
    )]
    ContainerdsRoot {
        /// What was found.
        database: PathBuf,
    },
    /// A berthd has the root, or its services do.
    #[error(
        "root {root:?} is in use by a berthd or by services that one started: stop it (fuser {lock:?}) or choose another --root"
    )]
    RootInUse {
        /// The root.
        root: PathBuf,
        /// The lock that they hold.
        lock: PathBuf,
    },
    /// The signal handlers could not be installed.
    #[error("listen for signals: {0}")]
    Signals(#[source] io::Error),
    /// A pipe that the supervisor is said to have handed down cannot be used.
    #[error(
        "use the pipe that {variable} names ({value:?}): {source}; unset it to run without a supervisor"
    )]
    Pipe {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The socket on which systemd listens for this process cannot be used.
    #[error("take the one socket that systemd listens on from descriptor 3: {0}")]
    Activation(#[source] io::Error),
    /// systemd could not be told.
    #[error("tell systemd that the service is ready: {0}")]
    Notify(#[source] io::Error),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Code::FailedPrecondition
            }
            // fork's word for no more processes.
            Error::Start { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
                Code::ResourceExhausted
            }
            Error::Start { source, .. } | Error::Talk { source, .. } => code_of_io(source),
            Error::Deadline { .. } => Code::DeadlineExceeded,
            Error::TooMuchOutput { .. } => Code::ResourceExhausted,
            Error::CutOff(_) => Code::Unavailable,
            Error::Folder { source, .. } => code_of_io(source),
            Error::ContainerdsRoot { .. } | Error::RootInUse { .. } => Code::FailedPrecondition,
            Error::Panicked(_)
            | Error::Signals(_)
            | Error::Pipe { .. }
            | Error::Activation(_)
            | Error::Notify(_) => Code::Internal,
        }
    }
}
