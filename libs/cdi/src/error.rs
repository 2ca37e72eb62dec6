//! What can be wrong with a request for devices.

use std::path::PathBuf;

/// Devices that a container does not get.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says what they are.
    #[error(
        "unresolvable CDI devices {} (none of {} describes them{faults})",
        names.join(", "), shown(folders)
    )]
    Unresolvable {
        /// Their names.
        names: Vec<String>,
        /// Where it was looked.
        folders: Vec<PathBuf>,
        /// What was wrong with what is there.
        faults: Faults,
    },
    /// A device of the machine that is said to be one of them is not there.
    #[error("failed to inject devices: failed to stat CDI host device {0:?}")]
    Stat(PathBuf, #[source] std::io::Error),
    /// It is no device, or another kind of one.
    #[error("failed to inject devices: CDI device {path:?} is {is}, not {said}")]
    Kind {
        /// On the machine.
        path: PathBuf,
        /// What it is.
        is: &'static str,
        /// What it is said to be.
        said: String,
    },
    /// More than a container may be given.
    #[error("failed to inject devices: more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How much there may be.
        most: usize,
    },
}

/// What was wrong with documents, for messages: the first of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

/// So many are named.
const NAMED: usize = 3;

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(NAMED).try_for_each(|fault| write!(f, "; {fault}"))?;
        match self.0.len().checked_sub(NAMED + 1) {
            Some(more) => write!(f, "; and {} more", more + 1),
            None => Ok(()),
        }
    }
}

fn shown(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
