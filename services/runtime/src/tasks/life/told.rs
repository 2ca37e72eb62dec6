//! What was told of a task, as a new run of the service reads it again.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use berth_mount::Mount;
use serde::{Deserialize, Serialize};

use super::step::{Stage, Step};
use crate::process::{Exit, Io};

/// Deleted processes of a task that are remembered.
const DROPPED: usize = 256;
/// Earlier processes of one name that are remembered.
const EARLIER: usize = 8;

/// What is known of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) stage: Stage,
    pub(super) pid: u32,
    pub(super) exit: Option<Exit>,
    /// Its start was asked for, and was not refused.
    starting: bool,
    /// Numbers of earlier processes of this name.
    earlier: Vec<u32>,
}

impl Process {
    /// Whether a step is of an earlier process of this name.
    pub(super) fn is_of_earlier(&self, step: &Step) -> bool {
        let Some(pid) = step.any_pid() else { return false };
        self.earlier.contains(&pid) || (self.pid != 0 && pid != self.pid)
    }
}

/// What is known of one task.
#[derive(Default)]
pub(super) struct Told {
    pub(super) processes: BTreeMap<String, Process>,
    /// Added processes that were deleted, oldest first.
    dropped: VecDeque<String>,
    pub(super) made: Made,
    /// Whether it is frozen, which nobody writes down: nothing for one of an earlier run until its shim
    /// has said.
    pub(super) paused: Option<bool>,
    /// Starts of the first process that are not answered yet.
    pub(super) asked: usize,
    /// Its end, if that was heard of meanwhile: whether it has a start before it is in question.
    pub(super) held: Option<(SystemTime, Step)>,
}

/// What a task is made with, as far as the event of its making says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// What its root file system is mounted from.
    pub rootfs: Vec<Mount>,
    /// Its streams.
    pub io: Io,
    /// The checkpoint that it is restored from.
    pub checkpoint: String,
}

impl Told {
    /// What is known of the first process.
    pub(super) fn first(&self) -> Process {
        self.processes.get("").cloned().unwrap_or_default()
    }

    /// Whether it depends on the answer to a start what is to be told before this.
    pub(super) fn is_in_question(&self, step: &Step) -> bool {
        let (ends, first) = (step.stage() == Stage::Exited, self.first());
        self.asked > 0
            && ends
            && step.process().is_empty()
            && first.stage < Stage::Started
            && !first.is_of_earlier(step)
    }

    pub(super) fn advance(&mut self, step: &Step) {
        let process = self.processes.entry(step.process().to_owned()).or_default();
        if !matches!(step, Step::Starting | Step::Refused) {
            process.stage = step.stage();
        }
        match step {
            Step::Created { pid } | Step::Started { pid, .. } => process.pid = *pid,
            Step::Starting => process.starting = true,
            Step::Refused => process.starting = false,
            // In a journal: the name was given again.
            Step::Added { .. } => (process.pid, process.exit) = (0, None),
            Step::Exited { exit, .. } => {
                process.pid = exit.pid;
                process.exit = Some(*exit);
            }
            Step::Dropped { exec } => {
                process.exit = None;
                self.dropped.push_back(exec.clone());
                self.forget_oldest();
            }
            Step::Deleted { .. } => {}
        }
    }

    /// Forgets an ended process whose name is given again, but for its number.
    pub(super) fn renew(&mut self, exec: &str) {
        let Some(process) = self.processes.get_mut(exec) else { return };
        if process.stage < Stage::Exited {
            return;
        }
        let mut earlier = std::mem::take(&mut process.earlier);
        earlier.push(process.pid);
        if earlier.len() > EARLIER {
            earlier.remove(0);
        }
        *process = Process { earlier, ..Process::default() };
    }

    /// Deleted processes are remembered for what their shim still has to say, not for ever.
    fn forget_oldest(&mut self) {
        if self.dropped.len() <= DROPPED {
            return;
        }
        let Some(oldest) = self.dropped.pop_front() else { return };
        let again = self.dropped.contains(&oldest);
        if !again && self.processes.get(&oldest).is_some_and(|p| p.stage == Stage::Deleted) {
            self.processes.remove(&oldest);
        }
    }
}

/// The steps between what is known of a process and `step`.
pub(super) fn missing(known: &Process, step: &Step) -> Vec<Step> {
    let exec = step.process().to_owned();
    let (pid, exit) = match step {
        Step::Created { .. }
        | Step::Added { .. }
        | Step::Starting
        | Step::Refused
        | Step::Dropped { .. } => return Vec::new(),
        Step::Started { pid, .. } => (*pid, None),
        Step::Exited { exit, .. } => (exit.pid, None),
        Step::Deleted { exit } => (exit.pid, Some(*exit)),
    };
    let mut steps = Vec::new();
    if known.stage < Stage::Created {
        steps.push(match exec.is_empty() {
            true => Step::Created { pid },
            false => Step::Added { exec: exec.clone() },
        });
    }
    // A first process is there before it is started, and may end so; an added one is not.
    let ran = known.starting || known.stage == Stage::Started || !exec.is_empty();
    if known.stage < Stage::Started && step.stage() > Stage::Started && ran && pid != 0 {
        steps.push(Step::Started { exec: exec.clone(), pid });
    }
    let exists = ran || pid != 0;
    if let Some(exit) = exit.filter(|_| known.stage < Stage::Exited && exists) {
        steps.push(Step::Exited { exec, exit });
    }
    steps
}
