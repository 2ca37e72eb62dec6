//! Names in the graph of references.

use std::time::SystemTime;

use berth_ids::Namespace;

use super::condition::Condition;

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

/// A thing with what it refers to, as its owner read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub id: Id,
    /// Alive without being referred to.
    pub root: bool,
    /// Used since the epoch began.
    pub touched: bool,
    /// What it keeps alive.
    pub refs: Vec<Id>,
    /// What keeps it alive: the far end of `gc.bref` labels.
    pub kept_by: Vec<Id>,
    /// Those of `refs` that are part of the thing itself: a snapshot's parent, an image's target.
    pub structure: Vec<Id>,
    /// It keeps things alive with their structure alone, without what else they refer to (flat leases).
    pub flat: bool,
    /// What keeps it alive while it was used so and so long ago.
    pub conditions: Vec<Condition>,
    /// When it was used, as its labels say.
    pub used: Vec<SystemTime>,
}

impl Node {
    /// A thing that refers to nothing.
    #[must_use]
    pub fn new(id: Id) -> Self {
        Self {
            id,
            root: false,
            touched: false,
            refs: vec![],
            kept_by: vec![],
            structure: vec![],
            flat: false,
            conditions: vec![],
            used: vec![],
        }
    }
}
