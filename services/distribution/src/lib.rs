//! The distribution service: blobs, ingests, images, namespaces and leases of a node, and the
//! collection of what nothing refers to any more.
//!
//! Owns: `root/distribution` and its store; the list of namespaces and leases that every other
//! service follows. Must not know: snapshots, containers, tasks beyond their names in the reference
//! graph.

pub mod api;
pub mod archive;
pub mod check;
pub mod content;
pub mod counts;
pub mod error;
pub mod events;
pub mod gc;
mod go_duration;
pub mod holdings;
pub mod images;
pub mod leases;
pub mod live;
pub mod namespaces;
pub mod neighbour;
mod node;
pub mod peers;
pub mod records;
pub mod registry;
pub mod scope;
pub mod shared;
pub mod streams;
pub mod transfer;
pub mod unpack;
pub mod verifiers;

pub use error::{Error, Result};
pub use live::Live;
pub use node::Distribution;
pub use scope::Scope;

use std::sync::Arc;

use berth_config::{Config, Service};
use berth_fdpass::FdServer;
use berth_lifecycle::Tasks;
use berth_store::Store;

/// A service that answers.
pub struct Served {
    /// To be closed after the tasks have ended.
    pub store: Store,
    /// What can change while it runs.
    pub live: Live,
}

/// Opens everything and serves it until the token of `tasks` is cancelled. Returns when the socket
/// answers.
///
/// # Errors
/// What keeps the service from starting.
pub async fn serve(config: Arc<Config>, tasks: &Tasks) -> anyhow::Result<Served> {
    let journal = api::events::Journal::new(config.distribution.events);
    let peers = peers::connect(&config);
    let node = Distribution::open(config.clone(), journal.clone(), peers, tasks).await?;
    fs_err::create_dir_all(&config.state)?;
    counts::register(&node);
    let descriptors = FdServer::bind(&config.fd_socket(), tasks)?;
    let bundle = peers::bundle(&config, descriptors.clone());
    let transfers = transfer::Transfers::new(&node, bundle, tasks);
    // Before anything new is made.
    transfers.end_left().await?;
    let live = Live::new(config.clone(), transfers, node.collector.clone());
    let routes = api::routes(&node, &journal, &descriptors, &live, tasks);
    berth_grpc::server::serve(&config.socket(Service::Distribution), 0o600, routes, tasks)?;
    // Without it there is a collection when somebody asks for one.
    if config.plugins().has(berth_introspection::kind::GC, "scheduler") {
        tasks.spawn("collector", gc::schedule::run(node.collector.clone(), tasks.token()));
    }
    tasks.spawn("fences", node.namespaces.clone().lower_left(tasks.token()));
    let (content, stop) = (node.content.clone(), tasks.token());
    tasks.spawn("orphans", async move {
        stop.run_until_cancelled(delete_orphans(content)).await;
    });
    Ok(Served { store: node.store, live })
}

async fn delete_orphans(content: content::Content) {
    if let Err(error) = content.delete_orphans().await {
        tracing::warn!(%error, "delete blobs that no record names");
    }
    content.remove_unused().await;
}
