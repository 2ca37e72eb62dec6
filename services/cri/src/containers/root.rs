//! The root file system of a container.

use super::Shared;
use crate::Result;
use crate::peers::snapshots::{self, RootMount};
use crate::users::Users;

impl Shared {
    /// Makes it on top of an image's, for a user namespace of its own if it has one. Who asks again gets the same. The pod's lease keeps it until the container's
    /// record does.
    pub(super) async fn make_root(
        &self,
        pod: &str,
        id: &str,
        parent: String,
        users: Option<Users>,
    ) -> Result<Vec<RootMount>> {
        let named = (&*self.parts.cri.snapshotter, id);
        let labels = users.map(|users| users.labels()).unwrap_or_default();
        snapshots::prepare(&self.parts.node, named, parent, labels, pod).await
    }

    /// What it is mounted from.
    pub(super) async fn root(&self, id: &str) -> Result<Vec<RootMount>> {
        snapshots::mounts(&self.parts.node, &self.parts.cri.snapshotter, id).await
    }

    pub(super) async fn remove_root(&self, id: &str) -> Result<()> {
        snapshots::remove(&self.parts.node, &self.parts.cri.snapshotter, id).await
    }
}
