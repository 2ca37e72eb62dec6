//! Calls to the other services of the node.
//!
//! Owns: their sockets and the wire's types of what is asked of them. Every call has a deadline.

mod layers;
mod remote;
mod store;

use std::sync::Arc;

use berth_config::{Config, Service};
use berth_fdpass::FdServer;

use crate::content::there::Backend;
use crate::error::Result;
use crate::neighbour::Peers;
use crate::unpack::Layers;
use layers::Bundle;
use remote::Remote;
use store::RemoteStore;

/// The namespace of blobs at a content store that knows namespaces.
const THERE: &str = "berth";

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

/// The content store in a process of its own that is configured to keep the bytes of blobs, if one
/// is. All are kept there in one namespace.
///
/// # Errors
/// None: the name of the namespace is one.
pub fn content_store(config: &Config) -> Result<Option<Arc<dyn Backend>>> {
    let Some(name) = &config.distribution.content_store else { return Ok(None) };
    // The configuration has only one that is there.
    let Some(plugin) = config.proxy_plugins.get(name) else { return Ok(None) };
    let namespace = THERE.parse()?;
    let store = RemoteStore::new(name, &plugin.socket(), plugin.timeout(), namespace);
    Ok(Some(Arc::new(store)))
}
