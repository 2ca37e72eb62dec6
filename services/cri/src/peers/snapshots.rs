//! What snapshots there are, and what they use.

use std::collections::HashMap;
use std::path::PathBuf;

use berth_errors::Code;
use berth_grpc::code_of;
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_proto::containerd::types::Mount;

use super::{Node, QUICK, WORK, call, gone_is_fine, held, refused};
use crate::Result;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name or key.
    pub key: String,
    /// It changes no more.
    pub committed: bool,
}

/// What a snapshot uses by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes.
    pub bytes: u64,
    /// Files, folders, links.
    pub inodes: u64,
}

/// Under these labels snapshotters are told whose files are to be whose, users before groups.
pub const OWNERS: [&str; 2] =
    ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping"];

/// A mount that a root file system is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootMount {
    /// The file system's type.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where; empty: at the root.
    pub target: String,
    /// With which options.
    pub options: Vec<String>,
}

impl From<Mount> for RootMount {
    fn from(Mount { r#type, source, target, options }: Mount) -> Self {
        Self { kind: r#type, source, target, options }
    }
}

impl From<RootMount> for Mount {
    fn from(RootMount { kind, source, target, options }: RootMount) -> Self {
        Self { r#type: kind, source, target, options }
    }
}

/// Makes one to be written to on top of another, under a lease. Answers what it is mounted from; of one that is there
/// already the same.
///
/// # Errors
/// [`crate::Error::Peer`]; [`crate::Error::Invalid`] for a lease that is none.
pub async fn prepare(
    node: &Node,
    (snapshotter, key): (&str, &str),
    parent: String,
    labels: HashMap<String, String>,
    lease: &str,
) -> Result<Vec<RootMount>> {
    let (of, named) = (snapshotter.to_owned(), key.to_owned());
    let request = wire::PrepareSnapshotRequest { snapshotter: of, key: named, parent, labels };
    let made = node.snapshots().prepare(held(call(request, WORK), lease)?).await;
    let made = made.map(|made| made.into_inner().mounts);
    made_or_there(node, (snapshotter, key), "prepare root file system", made).await
}

/// Makes one to be read alone of another, under a lease. Answers what it is mounted from; of one that is there already
/// the same.
///
/// # Errors
/// [`crate::Error::Peer`]; [`crate::Error::Invalid`] for a lease that is none.
pub async fn view(
    node: &Node,
    (snapshotter, key): (&str, &str),
    parent: String,
    labels: HashMap<String, String>,
    lease: &str,
) -> Result<Vec<RootMount>> {
    let (of, named) = (snapshotter.to_owned(), key.to_owned());
    let request = wire::ViewSnapshotRequest { snapshotter: of, key: named, parent, labels };
    let made = node.snapshots().view(held(call(request, WORK), lease)?).await;
    let made = made.map(|made| made.into_inner().mounts);
    made_or_there(node, (snapshotter, key), "make a view", made).await
}

/// What one is mounted from that was made, or that was there already.
async fn made_or_there(
    node: &Node,
    (snapshotter, key): (&str, &str),
    step: &'static str,
    made: Result<Vec<Mount>, tonic::Status>,
) -> Result<Vec<RootMount>> {
    match made {
        Err(status) if code_of(&status) == Code::AlreadyExists => {
            mounts(node, snapshotter, key).await
        }
        made => Ok(made.map_err(refused(step))?.into_iter().map(Into::into).collect()),
    }
}

/// What another snapshot one lies on; empty: none.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn parent(node: &Node, snapshotter: &str, key: &str) -> Result<String> {
    let request =
        wire::StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
    let found = node.snapshots().stat(call(request, QUICK)).await;
    let info = found.map_err(refused("look for a snapshot"))?.into_inner().info;
    Ok(info.unwrap_or_default().parent)
}

/// What one is mounted from.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn mounts(node: &Node, snapshotter: &str, key: &str) -> Result<Vec<RootMount>> {
    let request = wire::MountsRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
    let mounts = node.snapshots().mounts(call(request, WORK)).await;
    let mounts = mounts.map_err(refused("ask for the mounts of a snapshot"))?.into_inner().mounts;
    Ok(mounts.into_iter().map(Into::into).collect())
}

/// Takes one away, whichever of these snapshotters has made it. It is no error if there is none.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn remove(node: &Node, snapshotters: &[&str], key: &str) -> Result<()> {
    for &snapshotter in snapshotters {
        let (snapshotter, key) = (snapshotter.to_owned(), key.to_owned());
        let request = wire::RemoveSnapshotRequest { snapshotter, key };
        match node.snapshots().remove(call(request, WORK)).await {
            // A snapshotter that is not loaded has nothing to take away.
            Err(status) if code_of(&status) == Code::InvalidArgument => {}
            removed => gone_is_fine(removed).map_err(refused("remove a snapshot"))?,
        }
    }
    Ok(())
}

/// Whether there is one of this name.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn exists(node: &Node, snapshotter: &str, key: &str) -> Result<bool> {
    let request =
        wire::StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
    match node.snapshots().stat(call(request, QUICK)).await {
        Ok(_) => Ok(true),
        Err(status) if code_of(&status) == Code::NotFound => Ok(false),
        Err(status) => Err(refused("look for a snapshot")(status)),
    }
}

/// All of a snapshotter.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn list(node: &Node, snapshotter: &str) -> Result<Vec<Snapshot>> {
    let request =
        wire::ListSnapshotsRequest { snapshotter: snapshotter.to_owned(), ..Default::default() };
    let answer = node.snapshots().list(call(request, WORK)).await;
    let mut parts = answer.map_err(refused("list snapshots"))?.into_inner();
    let mut all = Vec::new();
    while let Some(part) = parts.message().await.map_err(refused("list snapshots"))? {
        all.extend(part.info.into_iter().map(|info| Snapshot {
            committed: info.kind() == wire::Kind::Committed,
            key: info.name,
        }));
    }
    Ok(all)
}

/// What one uses, its parents apart. `None` if it is gone.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn usage(node: &Node, snapshotter: &str, key: &str) -> Result<Option<Used>> {
    let request = wire::UsageRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
    match node.snapshots().usage(call(request, WORK)).await {
        Ok(answer) => {
            let wire::UsageResponse { size, inodes } = answer.into_inner();
            let number = |count| u64::try_from(count).unwrap_or_default();
            Ok(Some(Used { bytes: number(size), inodes: number(inodes) }))
        }
        Err(status) if code_of(&status) == Code::NotFound => Ok(None),
        Err(status) => Err(refused("measure a snapshot")(status)),
    }
}

/// The folder of a snapshotter, if it tells of one.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn root(node: &Node, snapshotter: &str) -> Result<Option<PathBuf>> {
    let filters = vec!["type==io.containerd.snapshotter.v1".to_owned()];
    let answer = node.snapshotters().plugins(call(PluginsRequest { filters }, QUICK)).await;
    let plugins = answer.map_err(refused("list snapshotters"))?.into_inner().plugins;
    let of = plugins.into_iter().find(|plugin| plugin.id == snapshotter);
    Ok(of.and_then(|plugin| plugin.exports.get("root").map(PathBuf::from)))
}
