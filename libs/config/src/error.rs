//! What can be wrong with a configuration.

use std::io;
use std::path::{Path, PathBuf};

use berth_errors::{Code, Coded, code_of_io};

use crate::Origin;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("read configuration {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is not TOML, or has an unknown key or a wrong value.
    #[error("{}:{line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value in containerd's format cannot be used.
    #[error("{origin}: {key}: {message}")]
    Containerd {
        /// Where it is written.
        origin: Origin,
        /// Its key, with its tables.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// Files import others without end.
    #[error("import configuration {path:?}: {most} files were read already")]
    TooManyFiles {
        /// The one too many.
        path: PathBuf,
        /// How many may be.
        most: usize,
    },
    /// A path would depend on where a process was started.
    #[error("{key} is {path:?}: it must be an absolute path")]
    RelativePath {
        /// The key.
        key: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// What survives a reboot and what does not must lie apart.
    #[error("root and state are both {0:?}: give them different folders")]
    SameFolder(PathBuf),
    /// A program behind a socket cannot be used.
    #[error("proxy_plugins.{name}: {key} is {value:?}: it must be {rule}")]
    Proxy {
        /// Its name.
        name: String,
        /// Which key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would be allowed.
        rule: &'static str,
    },
    /// A number is outside what makes sense.
    #[error("{key} is {value}: it must be {rule}")]
    Range {
        /// The key, with its table.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would be allowed.
        rule: &'static str,
    },
    /// A value of a table with a name of its own is nothing that can be used.
    #[error("{key} is {value:?}: it must be {rule}")]
    Value {
        /// The key, with its table.
        key: String,
        /// Its value.
        value: String,
        /// What would be allowed.
        rule: &'static str,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Read { source, .. } => code_of_io(source),
            Error::Parse { .. }
            | Error::Containerd { .. }
            | Error::TooManyFiles { .. }
            | Error::RelativePath { .. }
            | Error::SameFolder(_)
            | Error::Proxy { .. }
            | Error::Range { .. }
            | Error::Value { .. } => Code::InvalidArgument,
        }
    }
}

impl Error {
    pub(crate) fn parse(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or(0, |before| before.matches('\n').count()) + 1;
        Self::Parse { path: path.to_owned(), line, message: explain(error.message()) }
    }
}

/// serde's message; for an unknown key the nearest known one instead of all that exist.
fn explain(message: &str) -> String {
    // "unknown field `colour`, expected one of `color`, `size`"
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let mut names = rest.split('`').step_by(2);
    let unknown = names.next().unwrap_or_default();
    let nearest = names
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(unknown.len()) / 2)
        .min();
    match nearest {
        Some((_, known)) => format!("unknown key `{unknown}`, did you mean `{known}`?"),
        None => {
            let known = rest.split_once(", ").map_or("", |(_, known)| known);
            format!("unknown key `{unknown}`, {known}")
        }
    }
}
