//! The order of a task's events, as whoever hears them has it, in one run and in several.

use std::sync::Arc;

use berth_events::Position;
use berth_mount::Mount;

use super::*;
use crate::events::Event;
use crate::process::{Exit, Io};

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
