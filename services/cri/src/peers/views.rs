//! Root file systems of images that bundle mounts, for nobody to write to. Each has one name, as a mount and as the
//! snapshot that is mounted.

use std::collections::HashMap;
use std::path::PathBuf;

use berth_errors::Code;
use berth_grpc::{code_of, with_lease};
use berth_proto::containerd::services::mounts::v1 as mounts;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_proto::containerd::types::{ActivationInfo, Mount};
use tonic::Request;

use super::{Node, QUICK, WORK, call, gone_is_fine, refused};
use crate::{Error, Result};

/// Owners of files inside, and who they are outside: `INSIDE:OUTSIDE:COUNT`, several by commas.
const LABELS: [&str; 2] =
    ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping"];

/// What is to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Whose snapshot it is.
    pub snapshotter: String,
    /// The snapshot of all layers; empty without any.
    pub parent: String,
    /// What keeps it from collection.
    pub lease: String,
    /// How users and groups are mapped; empty if they are not.
    pub owners: [String; 2],
}

/// Mounts it, if it is not mounted yet. Answers where.
///
/// # Errors
/// [`Error::Peer`].
pub async fn show(node: &Node, view: &View) -> Result<PathBuf> {
    let mounts = snapshot(node, view).await?;
    let request = mounts::ActivateRequest {
        name: view.name.clone(),
        mounts,
        temporary: true,
        ..Default::default()
    };
    let request = held(request, view)?;
    let info = match node.mounts().activate(request).await {
        Err(status) if code_of(&status) == Code::AlreadyExists => {
            let request = mounts::InfoRequest { name: view.name.clone() };
            let known = node.mounts().info(call(request, QUICK)).await;
            known.map_err(refused("look for a mount"))?.into_inner().info
        }
        made => made.map_err(refused("mount"))?.into_inner().info,
    };
    place(info.unwrap_or_default(), &view.name)
}

/// Those whose names begin so.
///
/// # Errors
/// [`Error::Peer`].
pub async fn named(node: &Node, prefix: &str) -> Result<Vec<String>> {
    let request = mounts::ListRequest { filters: Vec::new() };
    let listed = node.mounts().list(call(request, WORK)).await;
    let mut listed = listed.map_err(refused("list mounts"))?.into_inner();
    let mut names = Vec::new();
    while let Some(message) = listed.message().await.map_err(refused("list mounts"))? {
        let name = message.info.unwrap_or_default().name;
        if name.starts_with(prefix) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Unmounts it, and removes its snapshot. It is no error if it is not there.
///
/// # Errors
/// [`Error::Peer`].
pub async fn hide(node: &Node, snapshotter: &str, name: &str) -> Result<()> {
    let request = mounts::DeactivateRequest { name: name.to_owned() };
    let undone = node.mounts().deactivate(call(request, WORK)).await;
    gone_is_fine(undone).map_err(refused("unmount"))?;
    let (snapshotter, key) = (snapshotter.to_owned(), name.to_owned());
    let request = snapshots::RemoveSnapshotRequest { snapshotter, key };
    let removed = node.snapshots().remove(call(request, WORK)).await;
    gone_is_fine(removed).map_err(refused("remove a view"))
}

/// What it is mounted from.
async fn snapshot(node: &Node, view: &View) -> Result<Vec<Mount>> {
    let (snapshotter, key) = (view.snapshotter.clone(), view.name.clone());
    let labels = LABELS.iter().zip(&view.owners).filter(|(_, owners)| !owners.is_empty());
    let labels: HashMap<_, _> =
        labels.map(|(label, owners)| ((*label).to_owned(), owners.clone())).collect();
    let request = snapshots::ViewSnapshotRequest {
        snapshotter: snapshotter.clone(),
        key: key.clone(),
        parent: view.parent.clone(),
        labels,
    };
    match node.snapshots().view(held(request, view)?).await {
        Err(status) if code_of(&status) == Code::AlreadyExists => {
            let request = call(snapshots::MountsRequest { snapshotter, key }, WORK);
            let known = node.snapshots().mounts(request).await;
            Ok(known.map_err(refused("ask for a view"))?.into_inner().mounts)
        }
        made => Ok(made.map_err(refused("make a view"))?.into_inner().mounts),
    }
}

fn held<T>(message: T, view: &View) -> Result<Request<T>> {
    let request = with_lease(call(message, WORK), &view.lease);
    request.map_err(|error| Error::Invalid(error.to_string()))
}

fn place(info: ActivationInfo, name: &str) -> Result<PathBuf> {
    let last = info.active.into_iter().next_back().map(|mount| mount.mount_point);
    let nowhere = || Error::Unreadable {
        what: "mount",
        id: name.to_owned(),
        why: "nothing says where it is".to_owned(),
    };
    last.filter(|place| place.starts_with('/')).map(PathBuf::from).ok_or_else(nowhere)
}
