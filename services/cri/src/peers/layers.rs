//! What was written on top of an image, as a layer, and back.

use std::collections::HashMap;
use std::time::Duration;

use berth_proto::containerd::services::diff::v1 as wire;
use berth_proto::containerd::types::Descriptor;

use super::content::Blob;
use super::snapshots::{self, RootMount};
use super::{Node, call, held, refused};
use crate::{Result, ids};

/// A plain layer.
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// The same, packed.
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// How long a layer may take.
const LAYER: Duration = Duration::from_secs(1800);

/// Makes a layer of what a snapshot has beyond the one below it. The lease holds it.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn make(node: &Node, (snapshotter, key): (&str, &str), lease: &str) -> Result<Blob> {
    let told = |mounts: Vec<RootMount>| mounts.into_iter().map(Into::into).collect();
    let upper = snapshots::mounts(node, snapshotter, key).await?;
    let parent = snapshots::parent(node, snapshotter, key).await?;
    let seen = format!("checkpoint-{}", ids::new()?);
    let lower = snapshots::view(node, (snapshotter, &seen), parent, HashMap::new(), lease).await?;
    let request = wire::DiffRequest {
        left: told(lower),
        right: told(upper),
        media_type: TAR.to_owned(),
        r#ref: seen.clone(),
        ..Default::default()
    };
    let made = node.diff().diff(held(call(request, LAYER), lease)?).await;
    let removed = snapshots::remove(node, &[snapshotter], &seen).await;
    let made = made.map_err(refused("write a layer"))?.into_inner().diff.unwrap_or_default();
    removed?;
    Ok(Blob { digest: made.digest, size: made.size })
}

/// Puts what a layer has into a snapshot.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn put(
    node: &Node,
    (snapshotter, key): (&str, &str),
    lease: &str,
    (blob, is_packed): (Blob, bool),
) -> Result<()> {
    let mounts = snapshots::mounts(node, snapshotter, key).await?;
    let media_type = if is_packed { GZIP } else { TAR }.to_owned();
    let Blob { digest, size } = blob;
    let request = wire::ApplyRequest {
        diff: Some(Descriptor { media_type, digest, size, ..Default::default() }),
        mounts: mounts.into_iter().map(Into::into).collect(),
        ..Default::default()
    };
    let put = node.diff().apply(held(call(request, LAYER), lease)?).await;
    put.map(drop).map_err(refused("unpack a layer"))
}
