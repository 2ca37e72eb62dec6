//! What shims are told of the node, and how long they may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::{Config, ShimTimeouts};

/// The longest folder for the sockets of shims: containerd's shims add 65 bytes to it, and the kernel
/// takes 107.
const MAX_SOCKET_FOLDER: usize = 42;

/// How long shims may take, as far as that is configured.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until one that runs is connected to.
    pub load: Duration,
    /// Until the program has cleaned up after one that died.
    pub cleanup: Duration,
    /// Until one has answered that it ends.
    pub shutdown: Duration,
    /// Until one has told the state of a process.
    pub state: Duration,
    /// Until one has told what its task uses.
    pub stats: Duration,
}

/// What all shims of this node are told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where shims are looked for before PATH.
    pub folder: Option<PathBuf>,
    /// The clients' socket.
    pub address: PathBuf,
    /// Where shims send their events.
    pub ttrpc_address: PathBuf,
    /// The program with `publish`.
    pub publish_binary: PathBuf,
    /// Where shims put their sockets, if they can be told.
    pub socket_folder: Option<PathBuf>,
    /// Variables for them, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Until a shim has answered its start.
    pub start_deadline: Duration,
    /// How long they may take for the rest.
    pub timeouts: Timeouts,
    /// Whether shims log more.
    pub debug: bool,
}

impl Settings {
    /// As it is configured, beside this program.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let own = std::env::current_exe().unwrap_or_default();
        let beside = own.parent().map(Path::to_owned);
        let publish: Option<PathBuf> = beside.as_ref().map(|folder| folder.join("berth"));
        // Where it would be too long shims have a place of their own.
        let sockets = Some(config.state.join("s"));
        let sockets = sockets.filter(|folder| folder.as_os_str().len() <= MAX_SOCKET_FOLDER);
        Self {
            folder: config.runtime.shim_dir.clone().or(beside),
            address: config.address.clone(),
            ttrpc_address: config.runtime.ttrpc_address.clone(),
            publish_binary: publish.unwrap_or_else(|| "berth".into()),
            socket_folder: sockets,
            env: config.runtime.shim_env.clone(),
            start_deadline: config.runtime.shim_start_timeout.0,
            timeouts: timeouts(&config.runtime.timeouts),
            debug: matches!(config.log.level.as_str(), "debug" | "trace"),
        }
    }
}

fn timeouts(configured: &ShimTimeouts) -> Timeouts {
    Timeouts {
        load: *configured.shim_load,
        cleanup: *configured.shim_cleanup,
        shutdown: *configured.shim_shutdown,
        state: *configured.task_state,
        stats: *configured.shim_stats,
    }
}
