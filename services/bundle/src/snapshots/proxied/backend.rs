//! What is asked of a snapshotter in a process of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_ids::{Labels, Namespace};
use berth_mount::Mount;
use futures::future::BoxFuture;

use crate::Error;
use crate::snapshots::{Info, Kind, Usage};

/// The future of a call. Each ends within a deadline.
pub type Work<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// A snapshotter as the engine calls it. Keys and parents are the names that it was given.
pub trait Backend: Send + Sync {
    /// Makes an active or view snapshot.
    fn create<'a>(
        &'a self,
        namespace: &'a Namespace,
        kind: Kind,
        key: &'a str,
        parent: &'a str,
        labels: Labels,
    ) -> Work<'a, Vec<Mount>>;
    /// Commits `key` as `name`; a parent is named if it had none before.
    fn commit<'a>(
        &'a self,
        namespace: &'a Namespace,
        name: &'a str,
        key: &'a str,
        parent: &'a str,
        labels: Labels,
    ) -> Work<'a, ()>;
    /// Removes a snapshot.
    fn remove<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, ()>;
    /// What it knows of a snapshot.
    fn stat<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, Info>;
    /// Changes labels, those of the given paths.
    fn update<'a>(
        &'a self,
        namespace: &'a Namespace,
        key: &'a str,
        labels: Labels,
        paths: Vec<String>,
    ) -> Work<'a, Info>;
    /// The snapshots that a filter selects.
    fn list<'a>(&'a self, namespace: &'a Namespace, filter: String) -> Work<'a, Vec<Info>>;
    /// How a snapshot is mounted.
    fn mounts<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, Vec<Mount>>;
    /// What a snapshot takes.
    fn usage<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, Usage>;
    /// Lets it clear away what removed snapshots have left.
    fn cleanup(&self) -> Work<'_, ()>;
}

/// A snapshotter behind a socket, as it is configured.
#[derive(Clone)]
pub struct Proxy {
    /// Its name, which it is called by as well.
    pub name: &'static str,
    /// Where it is, for clients: `address` among what is configured.
    pub exports: BTreeMap<String, String>,
    /// What it says that it can do.
    pub capabilities: Vec<String>,
    /// The platform that it is for, `OS/ARCHITECTURE`; the node's own if it is empty.
    pub platform: String,
    /// It.
    pub backend: Arc<dyn Backend>,
}

impl Proxy {
    /// Whether it wants labels that tell of a layer's image what it needs to fetch the layer itself, by
    /// containerd's name for that.
    #[must_use]
    pub fn is_annotated(&self) -> bool {
        self.exports.get("enable_remote_snapshot_annotations").is_some_and(|value| value == "true")
    }
}
