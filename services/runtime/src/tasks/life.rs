//! The order of one task's events.
//!
//! A step is told once, and what should have come before it is told first: a shim gives up on an
//! event after some tries, tells some twice, and this service may have been away. What was told is
//! kept in the task's folder, so that a new run of the service goes on from there. A step is
//! written down after it was told: a kill just between the two tells it again.

mod step;
mod told;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use berth_ids::Namespace;
use berth_mount::Mount;
use tokio::sync::watch;

use crate::events::{Event, Events};
use crate::process::{Exit, Io};
use step::Stage;
use told::{Told, missing};

pub use step::Step;

const JOURNAL: &str = "berth-events.jsonl";

/// What is told of one task.
pub(super) struct Life {
    ns: Namespace,
    id: String,
    events: Events,
    bundle: PathBuf,
    told: Mutex<Told>,
    /// Counts exits.
    exits: watch::Sender<u64>,
}

impl Life {
    /// The life of a task that is about to be made in `bundle`, or that was made there by an
    /// earlier run of the service.
    pub(super) fn new(ns: &Namespace, id: &str, bundle: &Path, events: Events) -> Self {
        let mut told = Told::default();
        // No journal: nothing was told yet. A line that a kill cut short was not told either.
        let journal = fs_err::read_to_string(bundle.join(JOURNAL)).unwrap_or_default();
        for step in journal.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            told.advance(&step);
        }
        Self {
            ns: ns.clone(),
            id: id.to_owned(),
            events,
            bundle: bundle.to_owned(),
            told: Mutex::new(told),
            exits: watch::Sender::new(0),
        }
    }

    /// Keeps what the event of the making will say.
    pub(super) fn made_with(&self, rootfs: &[Mount], io: &Io, checkpoint: &str) {
        let mut told = self.told();
        told.rootfs = rootfs.to_vec();
        told.io = io.clone();
        told.checkpoint = checkpoint.to_owned();
    }

    /// Tells a step, and before it what is missing.
    pub(super) fn note(&self, at: SystemTime, step: Step) {
        let mut told = self.told();
        let known = told.processes.get(step.process()).cloned().unwrap_or_default();
        if known.stage >= step.stage() || known.is_of_earlier(&step) {
            return;
        }
        for missing in missing(&known, &step) {
            self.tell(&mut told, at, missing);
        }
        self.tell(&mut told, at, step);
    }

    /// Tells that a process was added at the request of a client: the name may have been that of
    /// a process that ended.
    pub(super) fn added(&self, exec: &str) {
        let mut told = self.told();
        told.renew(exec);
        drop(told);
        self.note(SystemTime::now(), Step::Added { exec: exec.to_owned() });
    }

    fn tell(&self, told: &mut Told, at: SystemTime, step: Step) {
        if let Some(event) = self.event(told, &step) {
            self.events.publish_at(at, &self.ns, event);
        }
        told.advance(&step);
        self.write_down(&step);
        if matches!(step, Step::Exited { .. }) {
            self.exits.send_modify(|count| *count += 1);
        }
    }

    /// A journal that cannot be written costs a step told twice after a restart, which is less
    /// than not telling it.
    fn write_down(&self, step: &Step) {
        let path = self.bundle.join(JOURNAL);
        let line = serde_json::to_string(step).map_err(std::io::Error::other);
        let written = line.and_then(|line| {
            let mut file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())
        });
        if let Err(error) = written {
            tracing::warn!(namespace = %self.ns, id = self.id, %error, "write down event");
        }
    }

    fn event(&self, told: &Told, step: &Step) -> Option<Event> {
        let id = self.id.clone();
        Some(match step.clone() {
            Step::Created { pid } => Event::TaskCreated {
                id,
                bundle: self.bundle.to_string_lossy().into_owned(),
                rootfs: told.rootfs.clone(),
                io: told.io.clone(),
                checkpoint: told.checkpoint.clone(),
                pid,
            },
            Step::Added { exec } => Event::ExecAdded { id, exec },
            Step::Started { exec, pid } if exec.is_empty() => Event::TaskStarted { id, pid },
            Step::Started { exec, pid } => Event::ExecStarted { id, exec, pid },
            Step::Exited { exec, exit } if exec.is_empty() => {
                Event::Exited { process: id.clone(), id, exit }
            }
            Step::Exited { exec, exit } => Event::Exited { id, process: exec, exit },
            Step::Dropped { .. } => return None,
            Step::Deleted { exit } => Event::TaskDeleted { id, exit },
        })
    }

    /// Whether anything was told.
    pub(super) fn began(&self) -> bool {
        !self.told().processes.is_empty()
    }

    /// The first process's number, 0 if it is not known.
    pub(super) fn first_pid(&self) -> u32 {
        self.told().processes.get("").map_or(0, |process| process.pid)
    }

    /// The added processes that have not ended, as far as was told.
    pub(super) fn live_execs(&self) -> Vec<(String, u32)> {
        let told = self.told();
        let execs = told.processes.iter().filter(|(exec, _)| !exec.is_empty());
        let live = execs.filter(|(_, process)| process.stage < Stage::Exited);
        live.map(|(exec, process)| (exec.clone(), process.pid)).collect()
    }

    /// How a process ended, if it was told.
    pub(super) fn exit_of(&self, exec: &str) -> Option<Exit> {
        self.told().processes.get(exec).and_then(|process| process.exit)
    }

    /// Waits until the end of a process is told.
    pub(super) async fn exited(&self, exec: &str) -> Exit {
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

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl crate::events::Sink for Heard {
        fn publish_at(&self, _: SystemTime, _: &Namespace, event: Event) {
            let name = match event {
                Event::TaskCreated { .. } => "create".to_owned(),
                Event::TaskStarted { .. } => "start".to_owned(),
                Event::ExecAdded { exec, .. } => format!("add {exec}"),
                Event::ExecStarted { exec, .. } => format!("start {exec}"),
                Event::Exited { process, exit, .. } => format!("exit {process} {}", exit.status),
                Event::TaskDeleted { .. } => "delete".to_owned(),
                other => panic!("{other:?}"),
            };
            self.0.lock().unwrap().push(name);
        }
    }

    fn exit(status: u32) -> Exit {
        Exit { pid: 7, status, at: SystemTime::UNIX_EPOCH }
    }

    fn exited(exec: &str) -> Step {
        Step::Exited { exec: exec.into(), exit: exit(3) }
    }

    fn exited_as(exec: &str, pid: u32) -> Step {
        Step::Exited { exec: exec.into(), exit: Exit { pid, ..exit(3) } }
    }

    fn life(folder: &Path) -> (Life, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let ns = "n".parse().unwrap();
        (Life::new(&ns, "c", folder, Events::new(heard.clone())), heard)
    }

    #[test]
    fn steps_are_told_once_and_in_order_also_by_a_later_run() {
        let folder = tempfile::tempdir().unwrap();
        let at = SystemTime::now();
        let (first, heard) = life(folder.path());
        first.note(at, Step::Created { pid: 7 });
        first.note(at, Step::Created { pid: 7 });
        first.note(at, exited("e"));
        assert_eq!(*heard.0.lock().unwrap(), ["create", "add e", "start e", "exit e 3"]);
        let (second, heard) = life(folder.path());
        assert_eq!(second.exit_of("e"), Some(exit(3)));
        for step in [exited("e"), exited(""), Step::Started { exec: String::new(), pid: 7 }] {
            second.note(at, step);
        }
        second.note(at, Step::Deleted { exit: exit(3) });
        second.note(at, exited(""));
        assert_eq!(*heard.0.lock().unwrap(), ["start", "exit c 3", "delete"]);
    }

    #[test]
    fn a_task_that_never_started_is_deleted_without_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let (life, heard) = life(folder.path());
        life.note(SystemTime::now(), Step::Created { pid: 7 });
        life.note(SystemTime::now(), Step::Deleted { exit: exit(137) });
        assert_eq!(*heard.0.lock().unwrap(), ["create", "delete"]);
    }

    #[test]
    fn an_added_process_may_be_added_again_and_an_earlier_task_is_not_heard() {
        let folder = tempfile::tempdir().unwrap();
        let at = SystemTime::now();
        let (life, heard) = life(folder.path());
        life.note(at, Step::Created { pid: 7 });
        life.note(at, Step::Started { exec: String::new(), pid: 7 });
        let old = Exit { pid: 5, ..exit(0) };
        life.note(at, Step::Exited { exec: String::new(), exit: old });
        for pid in [11, 12] {
            life.added("e");
            life.note(at, exited_as("e", pid));
            life.note(at, Step::Added { exec: "e".into() });
            life.note(at, exited_as("e", 11));
        }
        let told = heard.0.lock().unwrap().join(", ");
        assert_eq!(told, "create, start, add e, start e, exit e 3, add e, start e, exit e 3");
    }
}
