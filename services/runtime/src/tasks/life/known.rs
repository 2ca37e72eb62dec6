//! What is known of a task's processes from what was told of them.

use super::Life;
use super::step::Stage;
use crate::process::{Exit, Status};

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doing {
    /// What its first process does.
    pub status: Status,
    /// That process's number, 0 if it is not known.
    pub pid: u32,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
}

impl Life {
    /// What the task does, as far as was told; nothing if there is none, or it is only being made.
    pub(in crate::tasks) fn doing(&self) -> Option<Doing> {
        let told = self.told();
        let first = told.first();
        let status = match first.stage {
            Stage::None | Stage::Deleted => return None,
            Stage::Created => Status::Created,
            Stage::Exited => Status::Stopped,
            Stage::Started => match told.paused {
                Some(true) => Status::Paused,
                Some(false) => Status::Running,
                None => Status::Unknown,
            },
        };
        Some(Doing { status, pid: first.pid, exit: first.exit })
    }

    /// Whether anything was told.
    pub(in crate::tasks) fn began(&self) -> bool {
        !self.told().processes.is_empty()
    }

    /// The first process's number, 0 if it is not known.
    pub(in crate::tasks) fn first_pid(&self) -> u32 {
        self.told().processes.get("").map_or(0, |process| process.pid)
    }

    /// The added processes that have not ended, as far as was told.
    pub(in crate::tasks) fn live_execs(&self) -> Vec<(String, u32)> {
        let told = self.told();
        let execs = told.processes.iter().filter(|(exec, _)| !exec.is_empty());
        let live = execs.filter(|(_, process)| process.stage < Stage::Exited);
        live.map(|(exec, process)| (exec.clone(), process.pid)).collect()
    }

    /// How a process ended, if it was told.
    pub(in crate::tasks) fn exit_of(&self, exec: &str) -> Option<Exit> {
        self.told().processes.get(exec).and_then(|process| process.exit)
    }

    /// Waits until the end of a process is told.
    pub(in crate::tasks) async fn exited(&self, exec: &str) -> Exit {
        let mut exits = self.exits.subscribe();
        loop {
            if let Some(exit) = self.exit_of(exec) {
                return exit;
            }
            if exits.changed().await.is_err() {
                // The sender is ours: it lives as long as this call does.
                std::future::pending::<()>().await;
            }
        }
    }
}
