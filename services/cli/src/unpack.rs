//! Making a root file system of an image: choosing a snapshotter, unpacking what is packed.

use anyhow::{Result, bail};
use berth_ids::Digest;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::diff::v1::ApplyRequest;
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::snapshots::v1::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};

use crate::client::{Client, Step};
use crate::image::Resolved;
use crate::manifest::Descriptor;

const SNAPSHOTTERS: &str = "io.containerd.snapshotter.v1";

/// The snapshotter that was asked for, or else the namespace's default, or else the node's.
pub async fn snapshotter(client: &Client, asked: Option<&str>) -> Result<String> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    if let Some(labelled) = client.default_of("snapshotter").await? {
        return Ok(labelled);
    }
    let filters = vec![format!("type=={SNAPSHOTTERS}")];
    let request = client.request(PluginsRequest { filters });
    let answer = client.introspection().plugins(request).await;
    let plugins = answer.step(|| "list snapshotters".to_owned())?.into_inner().plugins;
    match plugins.into_iter().find(|plugin| plugin.exports.contains_key("default")) {
        Some(plugin) => Ok(plugin.id),
        None => bail!("no snapshotter works here, see `berth info` or name one with --snapshotter"),
    }
}

/// Unpacks the image's layers that are not unpacked yet; the last chain ID, empty without layers.
pub async fn ensure(client: &Client, image: &Resolved, snapshotter: &str) -> Result<String> {
    let Some(top) = image.chain.last() else { return Ok(String::new()) };
    if exists(client, snapshotter, top).await? {
        return Ok(top.to_string());
    }
    if image.layers.len() != image.diff_ids.len() {
        bail!(
            "image {} has {} layers but its config names {}",
            image.name,
            image.layers.len(),
            image.diff_ids.len()
        );
    }
    let mut parent = String::new();
    for (at, layer) in image.layers.iter().enumerate() {
        let chain = &image.chain[at];
        if !exists(client, snapshotter, chain).await? {
            apply(client, snapshotter, &parent, layer, &image.diff_ids[at], chain).await?;
        }
        parent = chain.to_string();
    }
    refer(client, image, snapshotter, top).await?;
    Ok(parent)
}

async fn exists(client: &Client, snapshotter: &str, chain: &Digest) -> Result<bool> {
    let request =
        StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: chain.to_string() };
    let answer = client.snapshots().stat(client.request(request)).await.optional();
    Ok(answer.step(|| format!("look for snapshot {chain}"))?.is_some())
}

/// Unpacks one layer on top of its parent.
async fn apply(
    client: &Client,
    snapshotter: &str,
    parent: &str,
    layer: &Descriptor,
    diff_id: &Digest,
    chain: &Digest,
) -> Result<()> {
    let key = format!("extract-{} {chain}", uuid::Uuid::new_v4().simple());
    let prepare = PrepareSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: key.clone(),
        parent: parent.to_owned(),
        ..Default::default()
    };
    let prepared = client.snapshots().prepare(client.request(prepare)).await;
    let mounts = prepared.step(|| format!("prepare layer {}", layer.digest))?.into_inner().mounts;
    let outcome = fill(client, snapshotter, &key, layer, mounts, diff_id, chain).await;
    if outcome.is_err() {
        let remove = RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key };
        // The failure itself is what is told; the collector takes what stays behind.
        let _ = client.snapshots().remove(client.request(remove)).await;
    }
    outcome
}

async fn fill(
    client: &Client,
    snapshotter: &str,
    key: &str,
    layer: &Descriptor,
    mounts: Vec<berth_proto::containerd::types::Mount>,
    diff_id: &Digest,
    chain: &Digest,
) -> Result<()> {
    let request = ApplyRequest { diff: Some(layer.into()), mounts, ..Default::default() };
    let applied = client.diff().apply(client.patient(request)).await;
    let applied = applied.step(|| format!("unpack layer {}", layer.digest))?.into_inner().applied;
    let digest = applied.map(|of| of.digest).unwrap_or_default();
    if digest != diff_id.as_str() {
        bail!("layer {} contains {digest}, its config says {diff_id}", layer.digest);
    }
    let commit = CommitSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        name: chain.to_string(),
        key: key.to_owned(),
        ..Default::default()
    };
    let committed = client.snapshots().commit(client.request(commit)).await;
    committed.step(|| format!("commit layer {}", layer.digest)).map(|_| ())
}

/// Lets the image's config hold the snapshot, as containerd's clients do.
async fn refer(client: &Client, image: &Resolved, snapshotter: &str, top: &Digest) -> Result<()> {
    let label = format!("containerd.io/gc.ref.snapshot.{snapshotter}");
    let info = content::Info {
        digest: image.config.clone(),
        labels: [(label.clone(), top.to_string())].into(),
        ..Default::default()
    };
    let mask = prost_types::FieldMask { paths: vec![format!("labels.{label}")] };
    let request = content::UpdateRequest { info: Some(info), update_mask: Some(mask) };
    let updated = client.content().update(client.request(request)).await;
    updated.step(|| format!("label config {}", image.config)).map(|_| ())
}
