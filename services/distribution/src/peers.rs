//! Calls to the other services of the node.
//!
//! Owns: their sockets and the wire's types of what is asked of them. Every call has a deadline.

mod layers;
mod remote;

use std::sync::Arc;

use berth_config::{Config, Service};
use berth_fdpass::FdServer;

use crate::neighbour::Peers;
use crate::unpack::Layers;
use layers::Bundle;
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

/// Bundle, for the layers of images; their bytes are handed over by `descriptors`.
#[must_use]
pub fn bundle(config: &Config, descriptors: FdServer) -> Arc<dyn Layers> {
    Arc::new(Bundle::new(&config.socket(Service::Bundle), descriptors))
}
