//! What was written on top of an image, as a layer, and back.

use std::time::Duration;

use berth_proto::containerd::services::diff::v1 as wire;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_proto::containerd::types::{Descriptor, Mount};

use super::content::Blob;
use super::{Node, QUICK, WORK, call, gone_is_fine, refused};
use crate::{Error, Result, ids};

/// A plain layer.
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// The same, packed.
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// How long a layer may take.
const LAYER: Duration = Duration::from_secs(1800);

/// Makes a layer of what a snapshot has beyond the one below it. The lease holds it.
///
/// # Errors
/// [`Error::Peer`].
pub async fn make(node: &Node, (snapshotter, key): (&str, &str), lease: &str) -> Result<Blob> {
    let upper = super::snapshots::mounts(node, snapshotter, key).await?;
    let upper = upper.into_iter().map(Into::into).collect();
    let request =
        snapshots::StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
    let found = node.snapshots().stat(call(request, QUICK)).await;
    let parent = found.map_err(refused("look for a snapshot"))?.into_inner().info;
    let parent = parent.unwrap_or_default().parent;
    let seen = format!("checkpoint-{}", ids::new()?);
    let lower = view(node, (snapshotter, &seen), parent, lease).await?;
    let request = wire::DiffRequest {
        left: lower,
        right: upper,
        media_type: TAR.to_owned(),
        r#ref: seen.clone(),
        ..Default::default()
    };
    let made = node.diff().diff(held(request, lease)?).await;
    let request =
        snapshots::RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: seen };
    let removed = gone_is_fine(node.snapshots().remove(call(request, WORK)).await);
    let made = made.map_err(refused("write a layer"))?.into_inner().diff.unwrap_or_default();
    removed.map_err(refused("remove a view"))?;
    Ok(Blob { digest: made.digest, size: made.size })
}

async fn view(
    node: &Node,
    (snapshotter, key): (&str, &str),
    parent: String,
    lease: &str,
) -> Result<Vec<Mount>> {
    let request = snapshots::ViewSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: key.to_owned(),
        parent,
        ..Default::default()
    };
    let viewed = node.snapshots().view(held(request, lease)?).await;
    Ok(viewed.map_err(refused("view a snapshot"))?.into_inner().mounts)
}

/// Puts what a layer has into a snapshot.
///
/// # Errors
/// [`Error::Peer`].
pub async fn put(
    node: &Node,
    (snapshotter, key): (&str, &str),
    lease: &str,
    (blob, is_packed): (Blob, bool),
) -> Result<()> {
    let mounts = super::snapshots::mounts(node, snapshotter, key).await?;
    let media_type = if is_packed { GZIP } else { TAR }.to_owned();
    let Blob { digest, size } = blob;
    let request = wire::ApplyRequest {
        diff: Some(Descriptor { media_type, digest, size, ..Default::default() }),
        mounts: mounts.into_iter().map(Into::into).collect(),
        ..Default::default()
    };
    let put = node.diff().apply(held(request, lease)?).await;
    put.map(drop).map_err(refused("unpack a layer"))
}

fn held<T>(message: T, lease: &str) -> Result<tonic::Request<T>> {
    let request = berth_grpc::with_lease(call(message, LAYER), lease);
    request.map_err(|error| Error::Invalid(error.to_string()))
}
