//! The order of one task's events.
//!
//! A step is told once, and what should have come before it is told first: a shim gives up on an
//! event after some tries, tells some twice, and this service may have been away. What was told is
//! kept in the task's folder with its place among all events: a new run of the service goes on from
//! there, and hands on what the subscribers of an earlier run may not have got any more. A step is
//! written down after it was told: a kill just between the two tells it again, at another place.

mod event;
mod journal;
mod known;
mod step;
#[cfg(test)]
mod tests;
mod told;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use berth_ids::Namespace;
use tokio::sync::watch;

use crate::events::{Events, Stamp};
use journal::{Journal, Line};
use step::Stage;
use told::{Told, missing};

pub use known::Doing;
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

    /// Keeps whether it is frozen.
    pub(super) fn paused(&self, paused: bool) {
        self.told().paused = Some(paused);
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
        if matches!(&step, Step::Started { exec, .. } if exec.is_empty()) {
            told.paused.get_or_insert(false);
        }
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

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
