//! Names in the graph of references.

use berth_ids::Namespace;

/// The kind of blobs.
pub const CONTENT: &str = "content";
/// The kind of ingests.
pub const INGESTS: &str = "ingests";
/// The kind of images.
pub const IMAGES: &str = "images";
/// The kind of leases.
pub const LEASES: &str = "leases";
/// The kind of containers.
pub const CONTAINERS: &str = "containers";
/// The kind of activated mounts.
pub const MOUNTS: &str = "mounts";
/// The kind of clients' streams.
pub const STREAMS: &str = "streams";
/// What the kinds of snapshots begin with; the snapshotter's name follows.
pub const SNAPSHOTS: &str = "snapshots/";

/// The name of a thing that can be kept alive or dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The namespace. References never leave it.
    pub namespace: Namespace,
    /// What it is.
    pub kind: String,
    /// Which one.
    pub key: String,
}

impl Id {
    /// Names a thing.
    #[must_use]
    pub fn new(namespace: &Namespace, kind: impl Into<String>, key: impl Into<String>) -> Self {
        Self { namespace: namespace.clone(), kind: kind.into(), key: key.into() }
    }
}
