//! The order of one task's events.
//!
//! A step is told once, and what should have come before it is told first: a shim gives up on an
//! event after some tries, tells some twice, and this service may have been away. What was told is
//! kept in the task's folder with its place among all events: a new run of the service goes on from
//! there, and hands on what the subscribers of an earlier run may not have got any more. A step is
//! written down after it was told: a kill just between the two tells it again, at another place.

mod journal;
mod step;
mod told;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use berth_ids::Namespace;
use tokio::sync::watch;

use crate::events::{Event, Events, Stamp};
use crate::process::Exit;
use journal::{Journal, Line};
use step::Stage;
use told::{Told, missing};

pub use step::Step;
pub use told::Made;

/// What is told of one task.
pub(super) struct Life {
    ns: Namespace,
    id: String,
    events: Events,
    bundle: PathBuf,
    journal: Journal,
    told: Mutex<Told>,
    /// Counts exits.
    exits: watch::Sender<u64>,
}

impl Life {
    /// The life of a task that is about to be made in `bundle`, or that was made there by an
    /// earlier run of the service.
    pub(super) fn new(ns: &Namespace, id: &str, bundle: &Path, events: Events) -> Self {
        let life = Self {
            ns: ns.clone(),
            id: id.to_owned(),
            events,
            bundle: bundle.to_owned(),
            journal: Journal::of(bundle),
            told: Mutex::default(),
            exits: watch::Sender::new(0),
        };
        life.journal.read().into_iter().for_each(|line| life.recall(line));
        life
    }

    /// Takes over what an earlier run told.
    fn recall(&self, line: Line) {
        let mut told = self.told();
        if let Some(made) = line.made {
            told.made = made;
        }
        if let (Some(stamp), Some(event)) = (line.told, self.event(&told, &line.step)) {
            self.events.recall(stamp, &self.ns, event);
        }
        told.advance(&line.step);
    }

    /// Keeps what the event of the making will say.
    pub(super) fn made_with(&self, made: Made) {
        self.told().made = made;
    }

    /// Whether its start restores a checkpoint.
    pub(super) fn restores(&self) -> bool {
        !self.told().made.checkpoint.is_empty()
    }

    /// Tells a step, and before it what is missing.
    pub(super) fn note(&self, at: SystemTime, step: Step) {
        let mut told = self.told();
        if told.is_in_question(&step) {
            told.held.get_or_insert((at, step));
            return;
        }
        if let Step::Deleted { .. } = step
            && let Some((at, exit)) = told.held.take()
        {
            self.tell_on(&mut told, at, exit);
        }
        self.tell_on(&mut told, at, step);
    }

    /// Keeps that the first process is about to be started. Its end waits for the answer, which
    /// [`Life::answered`] brings.
    pub(super) fn starting(&self) {
        let mut told = self.told();
        told.asked += 1;
        if told.first().stage < Stage::Started {
            self.tell(&mut told, SystemTime::now(), Step::Starting);
        }
    }

    /// The start of the first process was answered; where it was not `refused`, and nobody told of
    /// it, it may have run.
    pub(super) fn answered(&self, refused: bool) {
        let mut told = self.told();
        told.asked = told.asked.saturating_sub(1);
        if told.asked > 0 {
            return;
        }
        if refused && told.first().stage < Stage::Started {
            self.tell(&mut told, SystemTime::now(), Step::Refused);
        }
        if let Some((at, exit)) = told.held.take() {
            self.tell_on(&mut told, at, exit);
        }
    }

    fn tell_on(&self, told: &mut Told, at: SystemTime, step: Step) {
        let known = told.processes.get(step.process()).cloned().unwrap_or_default();
        if known.stage >= step.stage() || known.is_of_earlier(&step) {
            return;
        }
        for missing in missing(&known, &step) {
            self.tell(told, at, missing);
        }
        self.tell(told, at, step);
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
        let event = self.event(told, &step);
        let stamp = event.map(|event| self.events.publish_at(at, &self.ns, event));
        told.advance(&step);
        let exited = matches!(step, Step::Exited { .. });
        self.write_down(told, step, stamp);
        if exited {
            self.exits.send_modify(|count| *count += 1);
        }
    }

    /// A journal that cannot be written costs a step told twice after a restart, which is less
    /// than not telling it.
    fn write_down(&self, told: &Told, step: Step, stamp: Option<Stamp>) {
        let made = matches!(step, Step::Created { .. }).then(|| told.made.clone());
        let (line, known) = (Line { step, told: stamp, made }, &told.processes);
        if let Err(error) = self.journal.append(&line, |process| known.contains_key(process)) {
            tracing::warn!(namespace = %self.ns, id = self.id, %error, "write down event");
        }
    }

    fn event(&self, told: &Told, step: &Step) -> Option<Event> {
        let id = self.id.clone();
        Some(match step.clone() {
            Step::Created { pid } => {
                let Made { rootfs, io, checkpoint } = told.made.clone();
                let bundle = self.bundle.to_string_lossy().into_owned();
                Event::TaskCreated { id, bundle, rootfs, io, checkpoint, pid }
            }
            Step::Added { exec } => Event::ExecAdded { id, exec },
            Step::Started { exec, pid } if exec.is_empty() => Event::TaskStarted { id, pid },
            Step::Started { exec, pid } => Event::ExecStarted { id, exec, pid },
            Step::Exited { exec, exit } if exec.is_empty() => {
                Event::Exited { process: id.clone(), id, exit }
            }
            Step::Exited { exec, exit } => Event::Exited { id, process: exec, exit },
            Step::Starting | Step::Refused | Step::Dropped { .. } => return None,
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

    use berth_events::Position;
    use berth_mount::Mount;

    use super::*;
    use crate::process::Io;

    /// Hears what is told, and what is handed on of an earlier run.
    #[derive(Default)]
    struct Heard {
        told: Mutex<Vec<(Stamp, Event)>>,
        recalled: Mutex<Vec<(Stamp, Event)>>,
    }

    impl crate::events::Sink for Heard {
        fn publish_at(&self, at: SystemTime, _: &Namespace, event: Event) -> Position {
            let mut told = self.told.lock().unwrap();
            let position = Position { incarnation: 1, seq: told.len() as u64 + 1 };
            told.push((Stamp { at, position }, event));
            position
        }

        fn recall(&self, stamp: Stamp, _: &Namespace, event: Event) {
            self.recalled.lock().unwrap().push((stamp, event));
        }
    }

    impl Heard {
        fn told(&self) -> Vec<String> {
            self.told.lock().unwrap().iter().map(|(_, event)| name(event)).collect()
        }
    }

    fn name(event: &Event) -> String {
        match event {
            Event::TaskCreated { .. } => "create".to_owned(),
            Event::TaskStarted { .. } => "start".to_owned(),
            Event::ExecAdded { exec, .. } => format!("add {exec}"),
            Event::ExecStarted { exec, .. } => format!("start {exec}"),
            Event::Exited { process, exit, .. } => format!("exit {process} {}", exit.status),
            Event::TaskDeleted { .. } => "delete".to_owned(),
            other => panic!("{other:?}"),
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
        assert_eq!(heard.told(), ["create", "add e", "start e", "exit e 3"]);
        first.starting();
        let (second, heard) = life(folder.path());
        assert_eq!(second.exit_of("e"), Some(exit(3)));
        for step in [exited("e"), exited(""), Step::Started { exec: String::new(), pid: 7 }] {
            second.note(at, step);
        }
        second.note(at, Step::Deleted { exit: exit(3) });
        second.note(at, exited(""));
        assert_eq!(heard.told(), ["start", "exit c 3", "delete"]);
    }

    #[test]
    fn a_later_run_hands_on_what_was_told_as_it_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = SystemTime::now();
        let (first, told) = life(folder.path());
        let io = Io { stdout: "/a/fifo".into(), ..Io::default() };
        let rootfs = vec![Mount { kind: "bind".into(), ..Mount::default() }];
        first.made_with(Made { rootfs, io, checkpoint: "/c".into() });
        first.note(at, Step::Created { pid: 7 });
        first.note(at, exited("e"));
        first.note(at, Step::Dropped { exec: "e".into() });
        first.starting();
        first.note(at, exited(""));
        first.answered(false);
        let (_, heard) = life(folder.path());
        assert_eq!(heard.told(), Vec::<String>::new());
        let told = told.told.lock().unwrap();
        assert_eq!(told.len(), 6);
        assert_eq!(*heard.recalled.lock().unwrap(), *told);
    }

    #[test]
    fn a_journal_does_not_grow_with_every_process_that_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let at = SystemTime::now();
        let (first, _) = life(folder.path());
        first.note(at, Step::Created { pid: 7 });
        first.note(at, Step::Started { exec: String::new(), pid: 7 });
        first.note(at, Step::Started { exec: "stays".into(), pid: 8 });
        for exec in (0..3000).map(|number| format!("e{number}")) {
            first.note(at, exited(&exec));
            first.note(at, Step::Dropped { exec });
        }
        let size: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size < 2 << 20, "{size} bytes");
        let (second, heard) = life(folder.path());
        assert_eq!((second.first_pid(), second.live_execs()), (7, vec![("stays".to_owned(), 8)]));
        second.note(at, exited("e2999"));
        assert_eq!(heard.told(), Vec::<String>::new());
    }

    #[test]
    fn a_task_that_never_started_ends_and_is_deleted_without_a_start() {
        let at = SystemTime::now();
        for deleted_at_once in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let (life, heard) = life(folder.path());
            life.note(at, Step::Created { pid: 7 });
            if !deleted_at_once {
                life.note(at, exited(""));
            }
            life.note(at, Step::Deleted { exit: exit(3) });
            life.note(at, exited(""));
            assert_eq!(heard.told(), ["create", "exit c 3", "delete"]);
        }
    }

    #[test]
    fn an_end_waits_for_the_answer_to_a_start() {
        let at = SystemTime::now();
        let started = Step::Started { exec: String::new(), pid: 7 };
        for (answer, told) in [
            (Ok(()), vec!["create", "start", "exit c 3"]),
            // The shim said no.
            (Err(true), vec!["create", "exit c 3"]),
            // It said nothing: it may have done it.
            (Err(false), vec!["create", "start", "exit c 3"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (life, heard) = life(folder.path());
            life.note(at, Step::Created { pid: 7 });
            life.starting();
            life.note(at, exited(""));
            assert_eq!((heard.told(), life.exit_of("")), (vec!["create".to_owned()], None));
            if answer.is_ok() {
                life.note(at, started.clone());
            }
            // Some shims tell twice.
            life.note(at, exited(""));
            life.answered(answer == Err(true));
            assert_eq!(heard.told(), told, "{answer:?}");
        }
    }

    #[test]
    fn a_deletion_waits_for_no_answer_and_a_second_start_that_is_refused_changes_nothing() {
        let (folder, at) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let (first, heard) = life(folder.path());
        first.note(at, Step::Created { pid: 7 });
        first.starting();
        first.starting();
        first.answered(true);
        first.note(at, exited(""));
        first.note(at, Step::Deleted { exit: exit(3) });
        first.answered(false);
        assert_eq!(heard.told(), ["create", "start", "exit c 3", "delete"]);
    }

    #[test]
    fn a_start_that_was_refused_is_none_for_a_later_run_either() {
        let (folder, at) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let (first, _) = life(folder.path());
        first.note(at, Step::Created { pid: 7 });
        first.starting();
        first.answered(true);
        let (second, heard) = life(folder.path());
        second.note(at, exited(""));
        assert_eq!(heard.told(), ["exit c 3"]);
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
        let told = heard.told().join(", ");
        assert_eq!(told, "create, start, add e, start e, exit e 3, add e, start e, exit e 3");
    }
}
