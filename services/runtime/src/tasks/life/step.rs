//! What happens to the processes of a task.

use serde::{Deserialize, Serialize};

use crate::process::Exit;

/// What happens to a process of a task. The first process has the empty name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The task was made.
    Created {
        /// Its first process.
        pid: u32,
    },
    /// A process was added.
    Added {
        /// Its name.
        exec: String,
    },
    /// The first process is about to be started, so that an end has a start before it even if
    /// nobody tells. Nobody is told.
    Starting,
    /// It was not, after all. Nobody is told.
    Refused,
    /// A process runs.
    Started {
        /// Its name.
        exec: String,
        /// Its number.
        pid: u32,
    },
    /// A process ended.
    Exited {
        /// Its name.
        exec: String,
        /// How.
        exit: Exit,
    },
    /// An added process was deleted. Nobody is told.
    Dropped {
        /// Its name.
        exec: String,
    },
    /// The task was deleted.
    Deleted {
        /// How its first process ended.
        exit: Exit,
    },
}

impl Step {
    pub(super) fn process(&self) -> &str {
        match self {
            Step::Created { .. } | Step::Starting | Step::Refused | Step::Deleted { .. } => "",
            Step::Added { exec }
            | Step::Started { exec, .. }
            | Step::Exited { exec, .. }
            | Step::Dropped { exec } => exec,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self {
            Step::Created { .. } | Step::Added { .. } | Step::Starting | Step::Refused => {
                Stage::Created
            }
            Step::Started { .. } => Stage::Started,
            Step::Exited { .. } => Stage::Exited,
            Step::Dropped { .. } | Step::Deleted { .. } => Stage::Deleted,
        }
    }

    /// The process's number, if the step tells it.
    pub(super) fn any_pid(&self) -> Option<u32> {
        let pid = match self {
            Step::Created { pid } | Step::Started { pid, .. } => *pid,
            Step::Exited { exit, .. } | Step::Deleted { exit } => exit.pid,
            Step::Added { .. } | Step::Starting | Step::Refused | Step::Dropped { .. } => 0,
        };
        (pid != 0).then_some(pid)
    }

    /// The number of the task's first process, if the step tells it.
    pub(in crate::tasks) fn pid(&self) -> Option<u32> {
        self.any_pid().filter(|_| self.process().is_empty())
    }

    /// Whether it is about an added process.
    pub(in crate::tasks) fn is_of_exec(&self) -> bool {
        !self.process().is_empty()
    }
}

/// How far a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    #[default]
    None,
    Created,
    Started,
    Exited,
    Deleted,
}
