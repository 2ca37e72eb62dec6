//! Starting one process of a service, and ending it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use berth_config::{Args, Config, Service};
use berth_lifecycle::{LIFELINE_FD, NODE_STARTS, READY_FD, child};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::broadcast;

use crate::Error;

/// How long a service may take to end before it is killed: it drains for 10 s at most, and sends its
/// last spans.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// What every service is started with.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// Where the programs lie: beside our own.
    folder: PathBuf,
    arguments: Vec<OsString>,
    /// Where programs and libraries of the services are looked for first.
    opt: PathBuf,
    lifeline: OwnedFd,
    /// Nobody writes: the kernel closes it when this process ends, however it ends.
    _lifeline_held: OwnedFd,
    generation: OwnedFd,
    /// What all services are to be told.
    pub(crate) told: broadcast::Sender<Signal>,
}

impl Launcher {
    pub(crate) fn new(args: &Args, config: &Config, generation: OwnedFd) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::OwnProgram)?;
        let folder = program.parent().map(PathBuf::from).unwrap_or_default();
        let (lifeline, held) = make_pipe("lifeline", "all services")?;
        let arguments = args.to_command_line();
        // Few are told at once: who is behind has been told the same.
        let told = broadcast::Sender::new(4);
        let opt = config.opt.clone();
        Ok(Self { folder, arguments, opt, lifeline, _lifeline_held: held, generation, told })
    }

    /// Starts a process of `service`, in a process group of its own so that a terminal's ^C comes
    /// to us alone. `first` is one that has not served yet: the node starts with it.
    pub(crate) fn start(&self, service: Service, first: bool) -> Result<Running, Error> {
        let program = self.folder.join(service.binary());
        let failed = |pipe| move |source| Error::Pipe { pipe, service: service.name(), source };
        let copy = |fd: &OwnedFd| fd.as_fd().try_clone_to_owned();
        let (ready, tell) = make_pipe("ready", service.name())?;
        let ready = pipe::Receiver::from_owned_fd(ready).map_err(failed("ready"))?;
        let mut command = child::command(&program);
        command.args(&self.arguments).process_group(0);
        command.envs(self.searched());
        let lifeline = copy(&self.lifeline).map_err(failed("lifeline"))?;
        let lifeline = child::pass(&mut command, lifeline);
        let tell = child::pass(&mut command, tell);
        // Held open by the service until it ends, and not named to it: see `lock`.
        let generation = copy(&self.generation).map_err(failed("lock"))?;
        child::pass(&mut command, generation);
        command.env(LIFELINE_FD, lifeline.to_string()).env(READY_FD, tell.to_string());
        if first {
            command.env(NODE_STARTS, "1");
        }
        let child = command.spawn().map_err(|source| Error::Start { program, source })?;
        tracing::debug!(%service, pid = child.id(), "started");
        Ok(Running { service, child, ready })
    }
}

impl Launcher {
    /// Variables that lead to programs and libraries of `opt`. Those for libraries cost each program
    /// some time: they are set if there are any.
    fn searched(&self) -> Vec<(&'static str, OsString)> {
        let first = |folder: PathBuf, variable: &'static str| {
            let mut list = folder.into_os_string();
            if let Some(rest) = std::env::var_os(variable).filter(|rest| !rest.is_empty()) {
                list.push(":");
                list.push(rest);
            }
            (variable, list)
        };
        if self.opt.as_os_str().is_empty() {
            return Vec::new();
        }
        let libraries = Some(self.opt.join("lib")).filter(|folder| folder.is_dir());
        let libraries = libraries.map(|folder| first(folder, "LD_LIBRARY_PATH"));
        [first(self.opt.join("bin"), "PATH")].into_iter().chain(libraries).collect()
    }
}

/// A process of a service. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    service: Service,
    child: Child,
    ready: pipe::Receiver,
}

impl Running {
    /// Whether the service came to serve; false when it ended before.
    pub(crate) async fn serves(&mut self) -> Result<bool, Error> {
        let mut byte = [0];
        let read = self.ready.read(&mut byte).await;
        Ok(read.map_err(self.failed("wait for the readiness of"))? == 1)
    }

    /// How it ended. Reaps it.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Error> {
        let ended = self.child.wait().await;
        ended.map_err(self.failed("wait for the end of"))
    }

    /// Tells it to end, and kills it when it does not.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        self.signal(Signal::TERM)?;
        if tokio::time::timeout(STOP_DEADLINE, self.ended()).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(service = %self.service, after = ?STOP_DEADLINE, "did not drain, killing it");
        self.signal(Signal::KILL)?;
        self.ended().await.map(|_| ())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        // Without an id it was reaped already; with one the id cannot have another owner yet.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let Some(pid) = id.and_then(Pid::from_raw) else { return Ok(()) };
        kill_process(pid, signal).map_err(|errno| self.failed("signal")(errno.into()))
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        let service = self.service;
        move |source| Error::Child { step, service, source }
    }
}

fn make_pipe(pipe: &'static str, service: &'static str) -> Result<(OwnedFd, OwnedFd), Error> {
    let made = pipe_with(PipeFlags::CLOEXEC);
    made.map_err(|errno| Error::Pipe { pipe, service, source: errno.into() })
}
