//! What snapshots there are, and what they use.

use std::path::PathBuf;

use berth_errors::Code;
use berth_grpc::code_of;
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::snapshots::v1 as wire;

use super::{Node, QUICK, WORK, call, refused};
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
