//! The root file system of a container.

use super::{Container, Shared};
use crate::peers::snapshots::{self, RootMount};
use crate::pods::Pod;
use crate::users::Users;
use crate::{Result, handlers};

impl Shared {
    /// What root file systems are made by in a pod.
    pub(super) fn snapshotter_of(&self, pod: &Pod) -> Result<&str> {
        handlers::snapshotter(&self.parts.cri, &pod.id, &pod.handler, &pod.config)
    }

    /// Makes it on top of an image's, for a user namespace of its own if it has one. Who asks again gets the same. The
    /// pod's lease keeps it until the container's record does.
    pub(super) async fn make_root(
        &self,
        (snapshotter, id): (&str, &str),
        pod: &str,
        parent: String,
        users: Option<Users>,
    ) -> Result<Vec<RootMount>> {
        let labels = users.map(|users| users.labels()).unwrap_or_default();
        snapshots::prepare(&self.parts.node, (snapshotter, id), parent, labels, pod).await
    }

    /// What it is mounted from.
    pub(super) async fn root(&self, container: &Container) -> Result<Vec<RootMount>> {
        snapshots::mounts(&self.parts.node, &container.snapshotter, container.id()).await
    }

    /// Takes it away, whichever of the snapshotters that are configured has made it: its record may be gone.
    pub(super) async fn remove_root(&self, id: &str) -> Result<()> {
        snapshots::remove(&self.parts.node, &self.parts.cri.snapshotters(), id).await
    }
}
