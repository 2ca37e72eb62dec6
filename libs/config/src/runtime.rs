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

impl Default for Runtime {
    fn default() -> Self {
        Self {
            binary: "runc".into(),
            shim_dir: None,
            shim_env: Vec::new(),
            shim_start_timeout: HumanDuration::secs(30),
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
        match self.shim_env.iter().find(|pair| !is_variable(pair)) {
            Some(pair) => {
                let key = "runtime.shim_env".to_owned();
                Err(Error::Value { key, value: pair.clone(), rule: "NAME=VALUE" })
            }
            None => Ok(()),
        }
    }
}
