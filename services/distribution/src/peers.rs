//! Calls to the other services of the node.
//!
//! Owns: their sockets and the wire's types of what is asked of them. Every call has a deadline.

mod remote;

use std::sync::Arc;

use berth_config::{Config, Service};

use crate::neighbour::Peers;
use remote::Remote;

/// The neighbours that a node has: bundle first, since runtime refers to what bundle owns.
#[must_use]
pub fn connect(config: &Config) -> Peers {
    let bundle = Remote::new("bundle", &config.socket(Service::Bundle), |kind| {
        kind.starts_with("snapshots/") || kind == "mounts"
    });
    let runtime = Remote::new("runtime", &config.socket(Service::Runtime), |kind| {
        matches!(kind, "containers" | "sandboxes")
    });
    Arc::new([Arc::new(bundle), Arc::new(runtime)])
}
