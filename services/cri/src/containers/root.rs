//! The root file system of a container.

use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_proto::containerd::types::Mount;
use berth_runtime_spec::RootView;
use tonic::Code;

use super::Shared;
use crate::peers::{WORK, call, gone_is_fine, refused};
use crate::users::Users;
use crate::{Error, Result};

impl Shared {
    /// Makes it on top of an image's, for a user namespace of its own if it has one. Who asks again gets the same. The pod's lease keeps it until the container's
    /// record does.
    pub(super) async fn make_root(
        &self,
        pod: &str,
        id: &str,
        parent: String,
        users: Option<Users>,
    ) -> Result<Vec<Mount>> {
        let (snapshotter, key) = (self.parts.cri.snapshotter.clone(), id.to_owned());
        let labels = users.map(|users| users.labels()).unwrap_or_default();
        let request = wire::PrepareSnapshotRequest { snapshotter, key, parent, labels };
        let request = berth_grpc::with_lease(call(request, WORK), pod)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        match self.parts.node.snapshots().prepare(request).await {
            Err(status) if status.code() == Code::AlreadyExists => self.root(id).await,
            made => Ok(made.map_err(refused("prepare root file system"))?.into_inner().mounts),
        }
    }

    /// What it is mounted from.
    pub(super) async fn root(&self, id: &str) -> Result<Vec<Mount>> {
        let (snapshotter, key) = (self.parts.cri.snapshotter.clone(), id.to_owned());
        let request = call(wire::MountsRequest { snapshotter, key }, WORK);
        let mounts = self.parts.node.snapshots().mounts(request).await;
        Ok(mounts.map_err(refused("ask for root file system"))?.into_inner().mounts)
    }

    pub(super) async fn remove_root(&self, id: &str) -> Result<()> {
        let (snapshotter, key) = (self.parts.cri.snapshotter.clone(), id.to_owned());
        let request = call(wire::RemoveSnapshotRequest { snapshotter, key }, WORK);
        let removed = self.parts.node.snapshots().remove(request).await;
        gone_is_fine(removed).map_err(refused("remove root file system"))
    }
}

/// A look into it, without mounting it.
pub(super) fn look(mounts: &[Mount]) -> Result<RootView> {
    let unread = |error: berth_runtime_spec::Error| Error::Refused(berth_errors::chain(&error));
    match mounts.last() {
        Some(mount) if matches!(&*mount.r#type, "bind" | "overlay") => {
            RootView::of_mount(&mount.r#type, &mount.source, &mount.options).map_err(unread)
        }
        None => RootView::of_layers([]).map_err(unread),
        Some(mount) => {
            let kind = &mount.r#type;
            Err(Error::Refused(format!(
                "look into root file system: one of type {kind:?} cannot be looked into, choose another [cri] snapshotter"
            )))
        }
    }
}
