//! One process of a container, as the shim knows it.

use berth_proto::containerd::v1::types::Status;
use tokio::sync::watch;

use crate::children::Exit;
use crate::io::{Stdio, Streams};

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Running,
    Stopped,
}

/// The state of a process.
pub(crate) struct Process {
    /// The container's identifier, or the exec's.
    pub id: String,
    pub stdio: Stdio,
    /// 0 until it is known.
    pub pid: i32,
    pub phase: Phase,
    pub streams: Option<Streams>,
    /// It was started, whatever became of it.
    pub ran: bool,
    /// Its start is going on: its exit is kept until that has been told.
    pub starting: bool,
    /// The kept exit; the process is reaped, its number may be somebody else's.
    pub held: Option<Exit>,
    /// The OCI process, for an exec.
    pub spec: Vec<u8>,
    exit: watch::Sender<Option<Exit>>,
}

/// What is told about a process.
pub(crate) struct View {
    pub id: String,
    pub pid: i32,
    pub status: Status,
    pub stdio: Stdio,
    pub exit: Option<Exit>,
}

impl Process {
    pub(crate) fn new(id: &str, stdio: Stdio) -> Process {
        Process {
            id: id.to_owned(),
            stdio,
            pid: 0,
            phase: Phase::Created,
            streams: None,
            ran: false,
            starting: false,
            held: None,
            spec: Vec::new(),
            exit: watch::Sender::new(None),
        }
    }

    /// It has been started.
    pub(crate) fn run(&mut self) {
        self.phase = Phase::Running;
        self.ran = true;
    }

    /// Whether it is a process of the kernel, not yet reaped.
    pub(crate) fn alive(&self) -> bool {
        self.pid > 0 && self.phase != Phase::Stopped && self.held.is_none()
    }

    /// It has ended, and that has been told.
    pub(crate) fn finish(&mut self, exit: Exit) {
        self.phase = Phase::Stopped;
        self.held = None;
        self.exit.send_replace(Some(exit));
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    pub(crate) fn waiter(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    pub(crate) fn view(&self, paused: bool, pausing: bool) -> View {
        let status = match self.phase {
            Phase::Stopped => Status::Stopped,
            _ if pausing => Status::Pausing,
            _ if paused => Status::Paused,
            Phase::Created => Status::Created,
            Phase::Running => Status::Running,
        };
        View {
            id: self.id.clone(),
            pid: self.pid,
            status,
            stdio: self.stdio.clone(),
            exit: self.exit(),
        }
    }
}
