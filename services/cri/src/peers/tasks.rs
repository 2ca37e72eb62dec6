//! Processes of containers and pods, and commands in them.

use std::path::PathBuf;
use std::time::Duration;

use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::types::Descriptor;
use berth_proto::containerd::v1::types::Status;
use berth_proto::io::containerd::cgroups::{v1, v2};
use berth_proto::unpack;
use berth_runtime_spec::{PROCESS_TYPE_URL, Process as Command};

use super::snapshots::RootMount;
use super::{Node, Packed, QUICK, WORK, call, endless, gone_is_fine, refused};
use crate::{Error, Result, time};

/// SIGKILL.
pub const KILL: u32 = 9;
/// How long the memory of a container may take to be read again: longer than runtime and the shim give it, so that what
/// comes of it is told.
const RESTORE: Duration = Duration::from_secs(630);
/// The type of limits that a task is given.
const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
/// The number of an end that no number is known of.
const NO_NUMBER: i32 = 255;

/// Which process: a container's own, or of a command in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The container.
    pub container: String,
    /// The command; empty: the container's own.
    pub command: String,
}

impl Whose {
    /// A container's own.
    #[must_use]
    pub fn own(container: &str) -> Self {
        Self { container: container.to_owned(), command: String::new() }
    }
}

/// What a container's own process is made with.
#[derive(Clone, Debug, Default)]
pub struct New {
    /// The container.
    pub id: String,
    /// What its shim is told instead of what the container's record says.
    pub options: Option<Packed>,
    /// Its root file system; empty: its specification says where it is.
    pub root: Vec<RootMount>,
    /// Where its output goes, as the shim reads it.
    pub output: String,
    /// It has a terminal.
    pub terminal: bool,
    /// The folder of a checkpoint that it goes on from; none: it begins.
    pub saved: Option<PathBuf>,
}

/// Pipes of a command; empty ones are none.
#[derive(Clone, Debug, Default)]
pub struct Pipes {
    /// Its input.
    pub stdin: PathBuf,
    /// Its output.
    pub stdout: PathBuf,
    /// Its errors.
    pub stderr: PathBuf,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its number.
    pub code: i32,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

/// How a container's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Made, not started.
    Created,
    /// It runs, or is paused, and has this number.
    Running(u32),
    /// It has ended.
    Ended(Exit),
    /// Nobody knows.
    Unknown,
}

impl Exit {
    /// As a shim tells it, which may say anything.
    pub(super) fn new(status: u32, at: Option<&prost_types::Timestamp>) -> Self {
        let code = i32::try_from(status).unwrap_or(NO_NUMBER);
        Self { code, at: time::from_wire(at).unwrap_or_else(time::now) }
    }
}

/// Makes a container's own process and starts it. Answers its number.
///
/// # Errors
/// [`Error::Peer`]: it may have been made.
pub async fn run(node: &Node, new: New) -> Result<u32> {
    let New { id, options, root, output, terminal, saved } = new;
    let within = if saved.is_some() { RESTORE } else { WORK };
    let request = wire::CreateTaskRequest {
        container_id: id.clone(),
        options: options.map(Into::into),
        rootfs: root.into_iter().map(Into::into).collect(),
        stdout: output,
        terminal,
        checkpoint: saved.map(from_folder),
        ..Default::default()
    };
    let mut tasks = node.tasks();
    let made = tasks.create(call(request, WORK)).await;
    let pid = made.map_err(refused("failed to create containerd task"))?.into_inner().pid;
    let request = wire::StartRequest { container_id: id, ..Default::default() };
    let started = tasks.start(call(request, within)).await;
    let started = started.map_err(refused("failed to start containerd task"))?.into_inner().pid;
    Ok(if started == 0 { pid } else { started })
}

/// A folder, in containerd's words.
fn from_folder(folder: PathBuf) -> Descriptor {
    let folder = folder.to_string_lossy().into_owned();
    Descriptor {
        annotations: [("RestoreFromPath".to_owned(), folder)].into(),
        ..Descriptor::default()
    }
}

/// Makes a command's process and starts it.
///
/// # Errors
/// [`Error::Peer`]: it may have been made.
pub async fn exec(node: &Node, whose: &Whose, command: &Command, pipes: Pipes) -> Result<()> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let value = serde_json::to_vec(command).unwrap_or_default();
    let request = wire::ExecProcessRequest {
        container_id: whose.container.clone(),
        exec_id: whose.command.clone(),
        stdin: path(pipes.stdin),
        stdout: path(pipes.stdout),
        stderr: path(pipes.stderr),
        terminal: command.terminal().unwrap_or_default(),
        spec: Some(Packed { kind: PROCESS_TYPE_URL.to_owned(), value }.into()),
    };
    let mut tasks = node.tasks();
    tasks.exec(call(request, WORK)).await.map_err(refused("failed to create exec"))?;
    let Whose { container, command } = whose.clone();
    let request = wire::StartRequest { container_id: container, exec_id: command };
    let started = tasks.start(call(request, WORK)).await.map_err(refused("start"));
    let step = || format!("failed to start exec {:?}", whose.command);
    started.map(drop).map_err(|error| Error::within(step())(error))
}

/// Sends a signal. It is no error if there is no such process.
///
/// # Errors
/// [`Error::Peer`].
pub async fn kill(node: &Node, whose: &Whose, signal: u32) -> Result<()> {
    let Whose { container, command } = whose.clone();
    let (container_id, exec_id) = (container, command);
    let request = wire::KillRequest { container_id, exec_id, signal, all: signal == KILL };
    gone_is_fine(node.tasks().kill(call(request, WORK)).await).map_err(refused("kill task"))
}

/// Waits for the end, for so long at most; without a limit as long as the caller does. `None` if there is no such
/// process.
///
/// # Errors
/// [`Error::Peer`].
pub async fn wait(node: &Node, whose: &Whose, within: Option<Duration>) -> Result<Option<Exit>> {
    let Whose { container, command } = whose.clone();
    let request = wire::WaitRequest { container_id: container, exec_id: command };
    let request = match within {
        Some(within) => call(request, within),
        None => endless(request),
    };
    match node.tasks().wait(request).await {
        Ok(answer) => {
            let ended = answer.into_inner();
            Ok(Some(Exit::new(ended.exit_status, ended.exited_at.as_ref())))
        }
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(refused("wait for task")(status)),
    }
}

/// Takes away what is left of one that has ended. It is no error if there is no such process.
///
/// # Errors
/// [`Error::Peer`].
pub async fn delete(node: &Node, whose: &Whose) -> Result<()> {
    let Whose { container, command } = whose.clone();
    let mut tasks = node.tasks();
    let deleted = if command.is_empty() {
        let request = wire::DeleteTaskRequest { container_id: container };
        gone_is_fine(tasks.delete(call(request, WORK)).await)
    } else {
        let request = wire::DeleteProcessRequest { container_id: container, exec_id: command };
        gone_is_fine(tasks.delete_process(call(request, WORK)).await)
    };
    deleted.map_err(refused("delete task"))
}

/// Takes away what there is of a process; one that runs is killed, and may take so long to be gone.
///
/// # Errors
/// [`Error::Peer`]: it may be there still.
pub async fn end(node: &Node, whose: &Whose, within: Duration) -> Result<()> {
    kill(node, whose, KILL).await?;
    wait(node, whose, Some(within)).await?;
    delete(node, whose).await
}

/// How a container's own process is. `None` if it has none.
///
/// # Errors
/// [`Error::Peer`].
pub async fn get(node: &Node, container: &str) -> Result<Option<Process>> {
    let request = wire::GetRequest { container_id: container.to_owned(), ..Default::default() };
    let process = match node.tasks().get(call(request, QUICK)).await {
        Ok(answer) => answer.into_inner().process.unwrap_or_default(),
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        Err(status) => return Err(refused("look for task")(status)),
    };
    Ok(Some(match process.status() {
        Status::Created => Process::Created,
        Status::Running | Status::Paused | Status::Pausing => Process::Running(process.pid),
        Status::Stopped => {
            Process::Ended(Exit::new(process.exit_status, process.exited_at.as_ref()))
        }
        Status::Unknown => Process::Unknown,
    }))
}

/// The terminal has another size, in characters.
///
/// # Errors
/// [`Error::Peer`].
pub async fn resize(node: &Node, whose: &Whose, (width, height): (u16, u16)) -> Result<()> {
    let Whose { container, command } = whose.clone();
    let (container_id, exec_id) = (container, command);
    let (width, height) = (width.into(), height.into());
    let request = wire::ResizePtyRequest { container_id, exec_id, width, height };
    let resized = node.tasks().resize_pty(call(request, WORK)).await;
    resized.map(drop).map_err(refused("resize terminal"))
}

/// The input has ended. It is no error if there is no such process.
///
/// # Errors
/// [`Error::Peer`].
pub async fn close_input(node: &Node, whose: &Whose) -> Result<()> {
    let Whose { container, command } = whose.clone();
    let request = wire::CloseIoRequest { container_id: container, exec_id: command, stdin: true };
    let closed = node.tasks().close_io(call(request, WORK)).await;
    gone_is_fine(closed).map_err(refused("close input"))
}

/// Gives a container's process other limits, as a specification has them. It is no error if it has none.
///
/// # Errors
/// [`Error::Peer`]: they are as before.
pub async fn update(node: &Node, container: &str, limits: &impl serde::Serialize) -> Result<()> {
    let value = serde_json::to_vec(limits).unwrap_or_default();
    let request = wire::UpdateTaskRequest {
        container_id: container.to_owned(),
        resources: Some(Packed { kind: RESOURCES.to_owned(), value }.into()),
        ..Default::default()
    };
    let told = gone_is_fine(node.tasks().update(call(request, WORK)).await);
    told.map_err(refused("update task"))
}

/// Whether the kernel has killed a process of the container for want of memory; not, if nobody can say.
pub async fn lacked_memory(node: &Node, container: &str) -> bool {
    let request = wire::MetricsRequest { filters: vec![format!("id=={container}")] };
    let asked = node.tasks().metrics(call(request, QUICK)).await;
    let metrics = asked.map(|answer| answer.into_inner().metrics).unwrap_or_default();
    let of_it = metrics.iter().filter(|metric| metric.id == container);
    of_it.filter_map(|metric| metric.data.as_ref()).any(|data| {
        let one = unpack::<v1::Metrics>(data).and_then(Result::ok);
        let two = unpack::<v2::Metrics>(data).and_then(Result::ok);
        one.and_then(|one| one.memory_oom_control).is_some_and(|control| control.oom_kill > 0)
            || two.and_then(|two| two.memory_events).is_some_and(|events| events.oom_kill > 0)
    })
}
