//! A layer made into a snapshot.

use std::time::Duration;

use berth_errors::Code;
use berth_grpc::code_of;
use berth_proto::containerd::services::diff::v1::ApplyRequest;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_proto::containerd::types::{Descriptor, Mount};

use super::{Node, WORK, call, held, refused};
use crate::{Error, Result, ids};

/// How long a layer may take.
const LAYER: Duration = Duration::from_secs(1800);

/// A layer, and what is to come of it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What the blob is.
    pub media_type: String,
    /// The blob.
    pub digest: String,
    /// The blob's bytes.
    pub size: i64,
    /// What is in it.
    pub diff_id: String,
    /// The snapshot below; empty for the lowest.
    pub parent: String,
    /// The snapshot to be.
    pub chain: String,
}

/// Makes a layer into a snapshot. It is no error that somebody else made it meanwhile.
///
/// # Errors
/// [`Error::Peer`], [`Error::Unreadable`] if the blob holds something else.
pub async fn layer(node: &Node, snapshotter: &str, lease: &str, layer: &Layer) -> Result<()> {
    let key = format!("extract-{} {}", ids::new()?, layer.chain);
    let prepare = wire::PrepareSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: key.clone(),
        parent: layer.parent.clone(),
        ..Default::default()
    };
    let mounts = match node.snapshots().prepare(held(call(prepare, WORK), lease)?).await {
        Ok(answer) => answer.into_inner().mounts,
        // A snapshotter that fetches by itself has it already.
        Err(status) if code_of(&status) == Code::AlreadyExists => return Ok(()),
        Err(status) => return Err(refused("prepare a layer")(status)),
    };
    let outcome = fill(node, snapshotter, lease, &key, layer, mounts).await;
    if !matches!(outcome, Ok(true)) {
        let remove = wire::RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key };
        // The failure itself is what is told; the collector takes what stays behind.
        let _ = node.snapshots().remove(call(remove, WORK)).await;
    }
    outcome.map(drop)
}

/// Whether what was prepared became the snapshot.
async fn fill(
    node: &Node,
    snapshotter: &str,
    lease: &str,
    key: &str,
    layer: &Layer,
    mounts: Vec<Mount>,
) -> Result<bool> {
    let Layer { media_type, digest, size, .. } = layer.clone();
    let diff = Some(Descriptor { media_type, digest, size, ..Default::default() });
    let request = ApplyRequest { diff, mounts, ..Default::default() };
    let applied = node.diff().apply(held(call(request, LAYER), lease)?).await;
    let applied = applied.map_err(refused("unpack a layer"))?.into_inner().applied;
    let digest = applied.map(|of| of.digest).unwrap_or_default();
    if digest != layer.diff_id {
        let why = format!("it holds {digest}, its config says {}", layer.diff_id);
        return Err(Error::Unreadable { what: "layer", id: layer.digest.clone(), why });
    }
    let commit = wire::CommitSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        name: layer.chain.clone(),
        key: key.to_owned(),
        ..Default::default()
    };
    match node.snapshots().commit(held(call(commit, WORK), lease)?).await {
        Ok(_) => Ok(true),
        Err(status) if code_of(&status) == Code::AlreadyExists => Ok(false),
        Err(status) => Err(refused("commit a layer")(status)),
    }
}
