//! The event that tells a step.

use super::Life;
use super::step::Step;
use super::told::{Made, Told};
use crate::events::Event;

impl Life {
    /// Nothing for steps that nobody is told.
    pub(super) fn event(&self, told: &Told, step: &Step) -> Option<Event> {
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
}
