//! The member's side of a collection: what was used since an epoch began stays.
//!
//! Owns: what bundle's objects are called in the node's graph, and whom it tells that they refer to
//! another service's. Must not know: who marks, or the graph beyond its own nodes.
//!
//! A sweep looks at the touched names inside its commit, on the store's one writer thread. Whoever
//! keeps a node alive touches it before or inside a commit of its own: one of the two comes first.
//! What refers to something of another service enters as a change, which an epoch's begin waits
//! for, and announces it unless it is known that nobody sweeps.

use futures::future::BoxFuture;

use crate::Error;

/// A node: namespace, kind, key.
pub type NodeKey = (String, String, String);

/// A node whose record a sweep has deleted, with the number of its directory.
pub(crate) type Dropped = (NodeKey, u64);

/// Whether a node's owner is bundle.
pub(crate) fn is_own(node: &NodeKey) -> bool {
    node.1.starts_with("snapshots/") || node.1 == "mounts"
}

/// The gate that changes pass, and the open epoch.
pub type Epochs = berth_epochs::Epochs<NodeKey>;

/// A change under way. A commit's closure owns it, so that it ends with the commit even if nobody
/// waits for that any more.
pub type Change = berth_epochs::Change<NodeKey>;

/// The services whose objects snapshots refer to.
pub trait Owners: Send + Sync {
    /// Tells a node's owner that something here is about to refer to it. `alone`: what it keeps alive is
    /// told by the caller too.
    fn pin(&self, node: NodeKey, alone: bool) -> BoxFuture<'_, Result<(), Error>>;
}
