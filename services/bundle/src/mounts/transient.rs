//! Mounts that are made for one call: of a list what no kernel mounts by itself, as an activation
//! has it, but without a name and a record.

use std::path::{Path, PathBuf};

use berth_mount::Mount;

use super::activate::make;
use super::clear;
use super::plan::Plan;
use crate::Error;

/// What was made of a list, undone on drop.
#[derive(Debug)]
pub struct Transient {
    target: Option<PathBuf>,
    left: Vec<Mount>,
}

impl Transient {
    /// Makes what has to be made, below `target`, which this makes. Blocks.
    ///
    /// # Errors
    /// What a mount answers; nothing is left then.
    pub fn new(mounts: &[Mount], target: PathBuf, roots: &[PathBuf]) -> Result<Self, Error> {
        let name = target.display().to_string();
        let plan = match Plan::new(&name, mounts.to_vec(), false) {
            Ok(plan) => plan,
            // Nothing has to be.
            Err(Error::Unsupported { .. }) => {
                return Ok(Self { target: None, left: mounts.to_vec() });
            }
            Err(error) => return Err(error),
        };
        // What is mounted here may have directories made in it.
        let roots = [roots, std::slice::from_ref(&target)].concat();
        // Nothing would be left of a list that is made to its end: then what it shows is.
        let all = plan.here == plan.steps.len();
        match make(&target, plan, all, &roots) {
            Ok((_, left)) => Ok(Self { target: Some(target), left }),
            Err(error) => {
                undo(&target);
                Err(error)
            }
        }
    }

    /// What is left to be mounted.
    #[must_use]
    pub fn left(&self) -> &[Mount] {
        &self.left
    }
}

impl Drop for Transient {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            undo(target);
        }
    }
}

/// What cannot be undone now is at the next start.
fn undo(target: &Path) {
    if let Err(error) = clear(target) {
        tracing::warn!(error = berth_errors::chain(&error), "undo mounts of a call");
    }
}
