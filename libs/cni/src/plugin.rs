//! One plugin: where its program is, what it is told, how it runs and what it answers.

mod environment;
mod run;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub(crate) use environment::Environment;
use run::Ended;
pub use run::{MAX_ERRORS, MAX_OUTPUT};

use crate::Error;

/// The most of a plugin's words that an error repeats, in bytes.
const MAX_SAID: usize = 1024;

/// What a plugin is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the specification's own words")]
pub enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Status => "STATUS",
            Command::Gc => "GC",
            Command::Version => "VERSION",
        })
    }
}

/// The program of a plugin's name: the first in the folders.
pub(crate) fn find(kind: &str, dirs: &[PathBuf]) -> Result<PathBuf, Error> {
    if crate::names::check_plugin(kind).is_ok()
        && let Some(path) = dirs.iter().map(|dir| dir.join(kind)).find(|path| path.is_file())
    {
        return Ok(path);
    }
    Err(Error::NoPlugin { plugin: kind.to_owned(), dirs: dirs.to_vec() })
}

/// One run of a plugin.
pub(crate) struct Call<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) command: Command,
    pub(crate) environment: Environment,
    pub(crate) input: Vec<u8>,
    pub(crate) deadline: Duration,
    /// Inherited by the plugin and by what it starts.
    pub(crate) turn: Option<OwnedFd>,
}

impl Call<'_> {
    /// Runs it to its end; what it wrote, if it did what it should. When this is dropped the plugin is killed.
    pub(crate) async fn run(self) -> Result<Vec<u8>, Error> {
        let (plugin, command) = (self.plugin.to_owned(), self.command);
        let ended = run::to_the_end(self).await?;
        if ended.status.success() {
            let said = excerpt(&ended.stderr);
            if !said.is_empty() {
                tracing::debug!(plugin, %command, said, "plugin wrote to its standard error");
            }
            return Ok(ended.stdout);
        }
        Err(failed(plugin, command, &ended))
    }
}

/// The error that a plugin is to write when it fails.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

fn failed(plugin: String, command: Command, ended: &Ended) -> Error {
    match serde_json::from_slice::<Said>(&ended.stdout) {
        Ok(Said { code: number, msg, details }) => {
            Error::Plugin { plugin, command, number, msg, details }
        }
        Err(_) => {
            let reason = format!("it ended with {} and said no error", ended.status);
            let words = if ended.stdout.is_empty() { &ended.stderr } else { &ended.stdout };
            Error::Garbage { plugin, command, reason, said: excerpt(words) }
        }
    }
}

/// The beginning of what a plugin wrote, as text.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let some = &bytes[..bytes.len().min(MAX_SAID)];
    let text = String::from_utf8_lossy(some).trim().to_owned();
    if bytes.len() > MAX_SAID { format!("{text}…") } else { text }
}
