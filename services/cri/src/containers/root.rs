//! The root file system of a container.

use std::collections::BTreeSet;

use berth_proto::containerd::services::containers::v1::GetContainerRequest;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_proto::containerd::types::Mount;
use berth_runtime_spec::RootView;
use tonic::Code;

use super::Shared;
use crate::peers::{QUICK, WORK, call, gone_is_fine, refused};
use crate::pods::Pod;
use crate::{Error, Result, handlers};

impl Shared {
    /// What root file systems are made by in a pod: what its handler says, or the configuration of all.
    pub(super) fn snapshotter_of(&self, pod: &Pod) -> Result<&str> {
        let cri = &self.parts.cri;
        let (name, _) = handlers::of(cri, &pod.id, &pod.handler, &pod.config)?;
        Ok(cri.snapshotter_of(name))
    }

    /// What that of a container was made by, whatever is configured now.
    pub(super) async fn snapshotter_on_record(&self, id: &str) -> Result<String> {
        let request = call(GetContainerRequest { id: id.to_owned() }, QUICK);
        let found = self.parts.node.containers().get(request).await;
        let found = found.map_err(refused("look for record of container"))?.into_inner();
        Ok(found.container.unwrap_or_default().snapshotter)
    }

    /// Makes it on top of an image's. Who asks again gets the same. The pod's lease keeps it until the container's
    /// record does.
    pub(super) async fn make_root(
        &self,
        pod: &str,
        id: &str,
        parent: String,
        snapshotter: &str,
    ) -> Result<Vec<Mount>> {
        let request = wire::PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: id.to_owned(),
            parent,
            ..Default::default()
        };
        let request = berth_grpc::with_lease(call(request, WORK), pod)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        match self.parts.node.snapshots().prepare(request).await {
            Err(status) if status.code() == Code::AlreadyExists => self.root(id, snapshotter).await,
            made => Ok(made.map_err(refused("prepare root file system"))?.into_inner().mounts),
        }
    }

    /// What it is mounted from.
    pub(super) async fn root(&self, id: &str, snapshotter: &str) -> Result<Vec<Mount>> {
        let (snapshotter, key) = (snapshotter.to_owned(), id.to_owned());
        let request = call(wire::MountsRequest { snapshotter, key }, WORK);
        let mounts = self.parts.node.snapshots().mounts(request).await;
        Ok(mounts.map_err(refused("ask for root file system"))?.into_inner().mounts)
    }

    /// Takes it away, whichever of the snapshotters that are configured has made it: its record may be gone.
    pub(super) async fn remove_root(&self, id: &str) -> Result<()> {
        let cri = &self.parts.cri;
        let all: BTreeSet<_> = cri.runtimes.keys().map(|name| cri.snapshotter_of(name)).collect();
        for snapshotter in all {
            let (snapshotter, key) = (snapshotter.to_owned(), id.to_owned());
            let request = call(wire::RemoveSnapshotRequest { snapshotter, key }, WORK);
            let removed = self.parts.node.snapshots().remove(request).await;
            match removed {
                // A snapshotter that is not loaded has nothing to take away.
                Err(status) if status.code() == Code::InvalidArgument => {}
                removed => gone_is_fine(removed).map_err(refused("remove root file system"))?,
            }
        }
        Ok(())
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
