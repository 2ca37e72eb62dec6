//! Why the supervisor ends other than by being told.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use berth_config::Service;
use berth_errors::{Code, Coded, code_of_io};

/// A failure of the supervisor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or lock file could not be made.
    #[error("{step} {path:?}: {source}")]
    Folder {
        /// What was being done.
        step: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The control group cannot be joined.
    #[error("join control group {path:?} of `cgroup`")]
    Cgroup {
        /// As configured.
        path: String,
        /// The cause.
        #[source]
        source: berth_cgroup::Error,
    },
    /// Another supervisor runs on the same root.
    #[error(
        "root {root:?} is in use by another berthd (pid {pid}): stop it or choose another --root"
    )]
    RootInUse {
        /// The root.
        root: PathBuf,
        /// The holder as it wrote itself down.
        pid: String,
    },
    /// Services of an earlier supervisor, or of none, have not ended.
    #[error(
        "services of an earlier berthd, or units of their own, on root {root:?} did not end within {waited:?}: end them (fuser {lock:?})"
    )]
    OldServices {
        /// The root.
        root: PathBuf,
        /// The lock that they hold.
        lock: PathBuf,
        /// How long was waited for them.
        waited: Duration,
    },
    /// The supervisor does not know where its services' programs are.
    #[error("find the folder of berthd's own program: {0}")]
    OwnProgram(#[source] io::Error),
    /// A pipe to a service could not be made.
    #[error("make the {pipe} pipe of {service}: {source}")]
    Pipe {
        /// Which one.
        pipe: &'static str,
        /// For which service.
        service: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A service's program could not be started.
    #[error("start {program:?}: {source}; the services' programs lie beside berthd's own")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A service could not be waited for or signalled.
    #[error("{step} {service}: {source}")]
    Child {
        /// What was being done.
        step: &'static str,
        /// The service.
        service: Service,
        /// What the kernel said.
        source: io::Error,
    },
    /// A service ended by itself before it ever served.
    #[error("{service} ended before it served ({status}): its own message stands above")]
    Refused {
        /// The service.
        service: Service,
        /// How it ended.
        status: ExitStatus,
    },
    /// The services did not all come to serve.
    #[error("not all services served within {0:?}: the log names those that did")]
    StartDeadline(Duration),
    /// This process could not be told to end, or could not tell that it is ready.
    #[error(transparent)]
    Lifecycle(#[from] berth_lifecycle::Error),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Folder { source, .. }
            | Error::OwnProgram(source)
            | Error::Pipe { source, .. }
            | Error::Child { source, .. } => code_of_io(source),
            Error::Cgroup { .. }
            | Error::RootInUse { .. }
            | Error::OldServices { .. }
            | Error::Refused { .. } => Code::FailedPrecondition,
            Error::Start { .. } => Code::FailedPrecondition,
            Error::StartDeadline(_) => Code::DeadlineExceeded,
            Error::Lifecycle(error) => error.code(),
        }
    }
}
