//! What was told of a task, in its folder: a line for each step.

use std::io::{Result, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::step::Step;
use super::told::Made;
use crate::events::Stamp;

const NAME: &str = "berth-events.jsonl";

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

    pub(super) fn append(&self, line: &Line) -> Result<()> {
        let line = serde_json::to_string(line)?;
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(&self.0)?;
        // The break comes first: it also ends a line that was cut short.
        file.write_all(format!("\n{line}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_earlier_versions_and_after_a_cut_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::of(folder.path());
        assert_eq!(journal.read(), []);
        let earlier = "{\"Created\":{\"pid\":7}}\n{\"Started\":{\"ex";
        std::fs::write(folder.path().join(NAME), [earlier.as_bytes(), &[0xc3]].concat()).unwrap();
        let line = |step| Line { step, told: None, made: None };
        let dropped = line(Step::Dropped { exec: "e".into() });
        journal.append(&dropped).unwrap();
        assert_eq!(journal.read(), [line(Step::Created { pid: 7 }), dropped]);
    }
}
