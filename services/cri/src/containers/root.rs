//! The root file system of a container.

use berth_runtime_spec::RootView;

use super::Shared;
use crate::peers::snapshots::{self, RootMount};
use crate::{Error, Result};

impl Shared {
    /// Makes it on top of an image's. Who asks again gets the same. The pod's lease keeps it until the container's
    /// record does.
    pub(super) async fn make_root(
        &self,
        pod: &str,
        id: &str,
        parent: String,
    ) -> Result<Vec<RootMount>> {
        let named = (&*self.parts.cri.snapshotter, id);
        snapshots::prepare(&self.parts.node, named, parent, pod).await
    }

    /// What it is mounted from.
    pub(super) async fn root(&self, id: &str) -> Result<Vec<RootMount>> {
        snapshots::mounts(&self.parts.node, &self.parts.cri.snapshotter, id).await
    }

    pub(super) async fn remove_root(&self, id: &str) -> Result<()> {
        snapshots::remove(&self.parts.node, &self.parts.cri.snapshotter, id).await
    }
}

/// A look into it, without mounting it.
pub(super) fn look(mounts: &[RootMount]) -> Result<RootView> {
    let unread = |error: berth_runtime_spec::Error| Error::Refused(berth_errors::chain(&error));
    match mounts.last() {
        Some(mount) if matches!(&*mount.kind, "bind" | "overlay") => {
            RootView::of_mount(&mount.kind, &mount.source, &mount.options).map_err(unread)
        }
        None => RootView::of_layers([]).map_err(unread),
        Some(mount) => {
            let kind = &mount.kind;
            Err(Error::Refused(format!(
                "look into root file system: one of type {kind:?} cannot be looked into, choose another [cri] snapshotter"
            )))
        }
    }
}
