//! What goes wrong with networks.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use berth_errors::{Code, Coded, code_of_io};

use crate::{AttachmentId, Command, Version};

/// A failed operation on a network, or a configuration that is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration that cannot be used.
    #[error("network configuration {}: {}{reason}: invalid argument", file.display(), of_key(key))]
    Conf {
        /// The file.
        file: PathBuf,
        /// The key in it (`plugins[0].ipam.type`); empty when it is all of it.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration that cannot be read.
    #[error("read network configuration {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was asked for cannot be right.
    #[error("{what} {value:?} {reason}: invalid argument")]
    Argument {
        /// What it is (`interface`).
        what: &'static str,
        /// As it was given.
        value: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// No program of a plugin's name is in the folders of plugins.
    #[error("find plugin {plugin:?} in {}: not found", folders(dirs))]
    NoPlugin {
        /// Its name.
        plugin: String,
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// A plugin's program could not be run or talked to.
    #[error("{step} plugin {plugin:?} ({command}): {source}")]
    Run {
        /// What was being done, a verb.
        step: &'static str,
        /// The plugin.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A plugin did not end in time; it was killed, with its process group.
    #[error(
        "plugin {plugin:?} ({command}) did not end within {deadline:?} and was killed: context deadline exceeded"
    )]
    Deadline {
        /// The plugin.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The time it had.
        deadline: Duration,
    },
    /// A plugin wrote more than anybody would read; it was killed, with its process group.
    #[error("plugin {plugin:?} ({command}) wrote more than {limit} bytes: resource exhausted")]
    TooMuch {
        /// The plugin.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The bound.
        limit: usize,
    },
    /// A plugin said that it failed.
    #[error("plugin {plugin:?} ({command}) failed: {msg}{} (code {number}): {}", of_details(details), of_plugin(*number).words())]
    Plugin {
        /// The plugin.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The specification's code, or the plugin's own from 100.
        number: u32,
        /// In short.
        msg: String,
        /// At length; may be empty.
        details: String,
    },
    /// A plugin's answer is none that the specification knows.
    #[error("plugin {plugin:?} ({command}): {reason}: {said:?}: unknown")]
    Garbage {
        /// The plugin.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// What is wrong with it.
        reason: String,
        /// What it said, in part.
        said: String,
    },
    /// The version of a network's configuration is not among those that a plugin knows.
    #[error(
        "network {network}: plugin {plugin:?} does not know version {version} (but {}): failed precondition",
        of_versions(known)
    )]
    Versions {
        /// The network.
        network: String,
        /// The plugin.
        plugin: String,
        /// The configuration's.
        version: Version,
        /// Those of the plugin.
        known: Vec<Version>,
    },
    /// CHECK came with version 0.4.0.
    #[error("network {network} of version {version} has no CHECK: not implemented")]
    NoCheck {
        /// The network.
        network: String,
        /// Its version.
        version: Version,
    },
    /// Nothing, or nothing whole, is on record of an attachment.
    #[error("attachment {0}: not found")]
    NotAdded(AttachmentId),
    /// An attachment is there, or another one is on record under the same file name.
    #[error("attachment {0}: already exists")]
    Added(AttachmentId),
    /// A plugin of an earlier run of this process still works on a container.
    #[error(
        "container {container}: a plugin that outlived its runtime still works on it after {waited:?}: unavailable"
    )]
    Busy {
        /// The container.
        container: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The record of an attachment could not be kept or read.
    #[error("{step} {}: {source}", path.display())]
    Cache {
        /// What was being done, a verb.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An ADD failed, and what it had done could not be undone: DEL is to be repeated.
    #[error("{cause}; and it could not be undone: {undo}")]
    NotUndone {
        /// Why ADD failed.
        cause: Box<Error>,
        /// Why DEL did.
        undo: Box<Error>,
    },
    /// Several steps of a collection failed; the others were done.
    #[error("{}", all(.0))]
    Several(Vec<Error>),
    /// Work was cut off.
    #[error(transparent)]
    Cut(#[from] berth_lifecycle::Error),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Conf { .. } | Error::Argument { .. } => Code::InvalidArgument,
            Error::Read { source, .. }
            | Error::Run { source, .. }
            | Error::Cache { source, .. } => code_of_io(source),
            Error::NoPlugin { .. } | Error::NotAdded(_) => Code::NotFound,
            Error::Deadline { .. } => Code::DeadlineExceeded,
            Error::TooMuch { .. } => Code::ResourceExhausted,
            Error::Plugin { number, .. } => of_plugin(*number),
            Error::Garbage { .. } => Code::Unknown,
            Error::Versions { .. } => Code::FailedPrecondition,
            Error::NoCheck { .. } => Code::Unimplemented,
            Error::Added(_) => Code::AlreadyExists,
            Error::Busy { .. } => Code::Unavailable,
            Error::NotUndone { cause, .. } => cause.code(),
            Error::Several(errors) => errors.first().map_or(Code::Unknown, Coded::code),
            Error::Cut(error) => error.code(),
        }
    }
}

/// What a plugin's number means to our callers.
fn of_plugin(number: u32) -> Code {
    match number {
        1 | 2 => Code::FailedPrecondition,
        3 => Code::NotFound,
        4 | 7 => Code::InvalidArgument,
        // Try again later; not available.
        11 | 50 | 51 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

fn of_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

fn of_details(details: &str) -> String {
    if details.is_empty() { String::new() } else { format!("; {details}") }
}

fn of_versions(versions: &[Version]) -> String {
    let names: Vec<_> = versions.iter().map(|v| v.as_str()).collect();
    if names.is_empty() { "none of ours".to_owned() } else { names.join(", ") }
}

fn folders(dirs: &[PathBuf]) -> String {
    let names: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    if names.is_empty() { "no folder".to_owned() } else { names.join(", ") }
}

fn all(errors: &[Error]) -> String {
    errors.iter().map(Error::to_string).collect::<Vec<_>>().join("; ")
}
