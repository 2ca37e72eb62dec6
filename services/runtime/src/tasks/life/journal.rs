//! What was told of a task, in its folder: a line for each step.

use std::collections::HashMap;
use std::io::{Result, Seek, Write};
use std::path::{Path, PathBuf};

use berth_store::failpoint;
use serde::{Deserialize, Serialize};

use super::step::Step;
use super::told::Made;
use crate::events::Stamp;

const NAME: &str = "berth-events.jsonl";

/// Bytes from which a journal is written anew without the processes that are forgotten: processes
/// are added and deleted for as long as the task runs.
const FULL: u64 = 1 << 20;

/// A task's journal.
pub(super) struct Journal(PathBuf);

/// One step.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) step: Step,
    /// Steps that nobody is told have none, and so have those that versions before this wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<Stamp>,
    /// Beside the making, so that it can be told again as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<Made>,
}

impl Journal {
    pub(super) fn of(bundle: &Path) -> Self {
        Self(bundle.join(NAME))
    }

    /// What an earlier run wrote down.
    pub(super) fn read(&self) -> Vec<Line> {
        // No journal: nothing was told yet.
        let text = fs_err::read(&self.0).unwrap_or_default();
        // A line that a kill cut short was not told either.
        let lines = text.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Writes down a step. Of other processes than those that are `known` nothing need be kept.
    pub(super) fn append(&self, line: &Line, known: impl Fn(&str) -> bool) -> Result<()> {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(&self.0)?;
        file.write_all(text(line)?.as_bytes())?;
        failpoint::file("task's journal", "written");
        if file.stream_position()? > FULL {
            self.shrink(known)?;
        }
        Ok(())
    }

    fn shrink(&self, known: impl Fn(&str) -> bool) -> Result<()> {
        let mut lines = self.read();
        // A name may have been given again: what was told of those that had it before is forgotten.
        let mut added = HashMap::new();
        for (place, line) in lines.iter().enumerate() {
            if let Step::Added { exec } = &line.step {
                added.insert(exec.clone(), place);
            }
        }
        let mut place = 0..;
        lines.retain(|line| {
            let (process, place) = (line.step.process(), place.next());
            known(process) && added.get(process).copied() <= place
        });
        let fresh = self.0.with_extension("fresh");
        fs_err::write(&fresh, lines.iter().map(text).collect::<serde_json::Result<String>>()?)?;
        fs_err::rename(fresh, &self.0)
    }
}

/// The break comes first: it also ends a line that was cut short.
fn text(line: &Line) -> serde_json::Result<String> {
    Ok(format!("\n{}", serde_json::to_string(line)?))
}

#[cfg(test)]
mod tests {
    use berth_mount::Mount;

    use super::*;

    #[test]
    fn lines_of_earlier_versions_and_after_a_cut_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::of(folder.path());
        assert_eq!(journal.read(), []);
        let earlier = "{\"Created\":{\"pid\":7}}\n{\"Started\":{\"ex";
        std::fs::write(folder.path().join(NAME), [earlier.as_bytes(), &[0xc3]].concat()).unwrap();
        journal.append(&dropped("e"), |_| true).unwrap();
        assert_eq!(journal.read(), [line(Step::Created { pid: 7 }), dropped("e")]);
    }

    #[test]
    fn a_full_journal_is_written_anew_without_what_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::of(folder.path());
        let added = |exec: &str| line(Step::Added { exec: exec.into() });
        for one in [added("again"), dropped("again"), added("gone"), added("again")] {
            journal.append(&one, |_| false).unwrap();
        }
        let rootfs = vec![Mount { kind: "x".repeat(FULL as usize), ..Mount::default() }];
        let made = Some(Made { rootfs, ..Made::default() });
        let created = Line { made, ..line(Step::Created { pid: 7 }) };
        journal.append(&created, |exec| exec != "gone").unwrap();
        assert_eq!(journal.read(), [added("again"), created]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    fn line(step: Step) -> Line {
        Line { step, told: None, made: None }
    }

    fn dropped(exec: &str) -> Line {
        line(Step::Dropped { exec: exec.into() })
    }
}
