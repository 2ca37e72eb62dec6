//! Root file systems of images that bundle mounts, for nobody to write to. Each has one name, as a mount and as the
//! snapshot that is mounted.

use std::path::PathBuf;

use berth_errors::Code;
use berth_grpc::code_of;
use berth_proto::containerd::services::mounts::v1 as mounts;
use berth_proto::containerd::types::ActivationInfo;

use super::snapshots::{self, OWNERS};
use super::{Node, QUICK, WORK, call, gone_is_fine, held, refused};
use crate::{Error, Result};

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
    /// How users and groups are mapped, `INSIDE:OUTSIDE:COUNT`, several by commas; empty if they are not.
    pub owners: [String; 2],
    /// What it is mounted with besides.
    pub options: Vec<String>,
}

/// Mounts it, if it is not mounted yet. Answers where.
///
/// # Errors
/// [`Error::Peer`].
pub async fn show(node: &Node, view: &View) -> Result<PathBuf> {
    let View { name, snapshotter, parent, lease, owners, options } = view.clone();
    let labels = OWNERS.map(String::from).into_iter().zip(owners);
    let labels = labels.filter(|(_, owners)| !owners.is_empty()).collect();
    let mut mounts = snapshots::view(node, (&snapshotter, &name), parent, labels, &lease).await?;
    for mount in &mut mounts {
        mount.options.extend(options.iter().cloned());
    }
    let request = mounts::ActivateRequest {
        name: name.clone(),
        mounts: mounts.into_iter().map(Into::into).collect(),
        temporary: true,
        ..Default::default()
    };
    let request = held(call(request, WORK), &lease)?;
    let info = match node.mounts().activate(request).await {
        Err(status) if code_of(&status) == Code::AlreadyExists => {
            let request = mounts::InfoRequest { name: name.clone() };
            let known = node.mounts().info(call(request, QUICK)).await;
            known.map_err(refused("look for a mount"))?.into_inner().info
        }
        made => made.map_err(refused("mount"))?.into_inner().info,
    };
    place(info.unwrap_or_default(), &name)
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

/// Unmounts it, and removes its snapshot, whichever of these snapshotters has made that. It is no error if it is not there.
///
/// # Errors
/// [`Error::Peer`].
pub async fn hide(node: &Node, snapshotters: &[&str], name: &str) -> Result<()> {
    let request = mounts::DeactivateRequest { name: name.to_owned() };
    let undone = node.mounts().deactivate(call(request, WORK)).await;
    gone_is_fine(undone).map_err(refused("unmount"))?;
    snapshots::remove(node, snapshotters, name).await
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
