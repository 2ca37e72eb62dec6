//! The table of the runtime service, with its defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sections::is_variable;
use crate::{ByteSize, Error, HumanDuration};

/// `[runtime]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// The OCI runtime, a path or a name on PATH.
    pub binary: PathBuf,
    /// Where shims are looked for first. Not set: beside the service's own program.
    pub shim_dir: Option<PathBuf>,
    /// Variables for shims, `NAME=VALUE`, besides those of the service.
    pub shim_env: Vec<String>,
    /// Until a shim has answered its start.
    pub shim_start_timeout: HumanDuration,
    /// How long shims may take for the rest.
    pub timeouts: ShimTimeouts,
    /// How often the restart monitor looks.
    pub restart_interval: HumanDuration,
    /// The most that the store keeps in memory.
    pub store_cache: ByteSize,
    /// Events that are kept for subscribers that come back.
    pub events: usize,
    /// Where shims send their events. Empty: the clients' socket with `.ttrpc` behind it.
    pub ttrpc_address: PathBuf,
    /// Owner of that socket.
    pub ttrpc_uid: u32,
    /// Group of that socket.
    pub ttrpc_gid: u32,
}

/// `[runtime.timeouts]`: keys and defaults are containerd's, of which each begins with
/// `io.containerd.timeout` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShimTimeouts {
    /// Until a shim that runs is connected to.
    pub shim_load: HumanDuration,
    /// Until a shim's program has cleaned up after a shim that died.
    pub shim_cleanup: HumanDuration,
    /// Until a shim has answered that it ends.
    pub shim_shutdown: HumanDuration,
    /// Until a shim has told the state of a process.
    pub task_state: HumanDuration,
    /// Until a shim has told what its task uses.
    pub shim_stats: HumanDuration,
}

impl Default for ShimTimeouts {
    fn default() -> Self {
        Self {
            shim_load: HumanDuration::secs(5),
            shim_cleanup: HumanDuration::secs(5),
            shim_shutdown: HumanDuration::secs(3),
            task_state: HumanDuration::secs(2),
            shim_stats: HumanDuration::secs(2),
        }
    }
}

impl ShimTimeouts {
    /// Nobody answers in no time.
    fn check(&self) -> Result<(), Error> {
        let Self { shim_load, shim_cleanup, shim_shutdown, task_state, shim_stats } = self;
        for (key, length) in [
            ("runtime.timeouts.shim_load", shim_load),
            ("runtime.timeouts.shim_cleanup", shim_cleanup),
            ("runtime.timeouts.shim_shutdown", shim_shutdown),
            ("runtime.timeouts.task_state", task_state),
            ("runtime.timeouts.shim_stats", shim_stats),
        ] {
            if length.is_zero() {
                return Err(Error::Range { key, value: length.to_string(), rule: "above 0s" });
            }
        }
        Ok(())
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            binary: "runc".into(),
            shim_dir: None,
            shim_env: Vec::new(),
            shim_start_timeout: HumanDuration::secs(30),
            timeouts: ShimTimeouts::default(),
            restart_interval: HumanDuration::secs(10),
            store_cache: ByteSize(1 << 20),
            events: 4096,
            ttrpc_address: PathBuf::new(),
            ttrpc_uid: 0,
            ttrpc_gid: 0,
        }
    }
}

impl Runtime {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.restart_interval.is_zero() {
            let (key, value) = ("runtime.restart_interval", "0s".to_owned());
            return Err(Error::Range { key, value, rule: "more than 0" });
        }
        self.timeouts.check()?;
        match self.shim_env.iter().find(|pair| !is_variable(pair)) {
            Some(pair) => {
                let key = "runtime.shim_env".to_owned();
                Err(Error::Value { key, value: pair.clone(), rule: "NAME=VALUE" })
            }
            None => Ok(()),
        }
    }
}
