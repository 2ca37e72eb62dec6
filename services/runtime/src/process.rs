//! What is known of a process.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::records::Any;

/// Where a process's streams go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// Standard input: a fifo or nothing.
    pub stdin: String,
    /// Standard output: a fifo, or a URI that the shim understands.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Whether there is a terminal.
    pub terminal: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The process.
    pub pid: u32,
    /// Its status; 128 and the signal's number if it was killed.
    pub status: u32,
    /// When.
    pub at: SystemTime,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its shim does not say.
    Unknown,
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended, not deleted.
    Stopped,
    /// Frozen.
    Paused,
    /// Being frozen.
    Pausing,
}

/// The state of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its number.
    pub pid: u32,
    /// What it is doing.
    pub status: Status,
    /// Its streams.
    pub io: Io,
    /// Its exit status, once it has ended.
    pub exit_status: u32,
    /// When it ended.
    pub exited: Option<SystemTime>,
}

/// A process in a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pid {
    /// Its number.
    pub pid: u32,
    /// What the shim knows of it.
    pub info: Option<Any>,
}
