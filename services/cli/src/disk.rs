//! What the disk is used for: which blobs and snapshots an image needs, and who else needs them.
//!
//! Blobs' files are shared by namespaces; snapshots are of one. What an image needs is what its
//! labels lead to, as the collector follows them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use berth_proto::containerd::services::content::v1::{Info as Blob, ListContentRequest};
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::namespaces::v1::ListNamespacesRequest;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use futures::{StreamExt, TryStreamExt};

use crate::client::{Client, Step};
use crate::image;

const CONTENT: &str = "containerd.io/gc.ref.content";
const SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
/// Snapshots that are measured at once.
const MEASURED: usize = 16;

/// A snapshot's place: snapshotter and key.
pub type Place = (String, String);

/// What one namespace has.
#[derive(Debug, Default)]
pub struct Space {
    /// Blobs by digest.
    pub blobs: BTreeMap<String, Held>,
    /// Snapshots.
    pub snapshots: BTreeMap<Place, Snapshot>,
    /// The digests of images, by their names.
    pub images: BTreeMap<String, String>,
}

/// A blob, and what it leads to.
#[derive(Debug, Default)]
pub struct Held {
    pub size: u64,
    pub blobs: Vec<String>,
    pub snapshots: Vec<Place>,
}

/// A snapshot by itself.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub parent: String,
    pub size: u64,
}

/// One thing that takes room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// By digest.
    Blob(String),
    /// By namespace and place.
    Snapshot(String, Place),
}

/// All namespaces of the node.
pub async fn spaces(client: &Client) -> Result<BTreeMap<String, Space>> {
    let request = client.request(ListNamespacesRequest::default());
    let listed = client.namespaces().list(request).await.step(|| "list namespaces".to_owned())?;
    let snapshotters = snapshotters(client).await?;
    let mut spaces = BTreeMap::new();
    for namespace in listed.into_inner().namespaces {
        let client = client.within(&namespace.name)?;
        spaces.insert(namespace.name, space(&client, &snapshotters).await?);
    }
    Ok(spaces)
}

async fn snapshotters(client: &Client) -> Result<Vec<String>> {
    let filters = vec!["type==io.containerd.snapshotter.v1".to_owned()];
    let request = client.request(PluginsRequest { filters });
    let listed = client.introspection().plugins(request).await;
    let listed = listed.step(|| "list snapshotters".to_owned())?.into_inner().plugins;
    Ok(listed.into_iter().filter(|of| of.init_err.is_none()).map(|of| of.id).collect())
}

async fn space(client: &Client, snapshotters: &[String]) -> Result<Space> {
    let mut space = Space::default();
    for image in image::list(client, Vec::new()).await? {
        let digest = image.target.map(|target| target.digest).unwrap_or_default();
        space.images.insert(image.name, digest);
    }
    let step = || format!("list blobs of namespace {}", client.namespace());
    let request = client.request(ListContentRequest::default());
    let mut pieces = client.content().list(request).await.step(step)?.into_inner();
    while let Some(piece) = pieces.message().await.step(step)? {
        space.blobs.extend(piece.info.into_iter().map(|blob| (blob.digest.clone(), held(blob))));
    }
    for snapshotter in snapshotters {
        space.snapshots.extend(measured(client, snapshotter).await?);
    }
    Ok(space)
}

fn held(blob: Blob) -> Held {
    let mut held = Held { size: u64::try_from(blob.size).unwrap_or(0), ..Held::default() };
    for (label, value) in blob.labels {
        if let Some(snapshotter) = label.strip_prefix(SNAPSHOT) {
            let snapshotter = snapshotter.split('/').next().unwrap_or_default().to_owned();
            held.snapshots.push((snapshotter, value));
        } else if label.starts_with(CONTENT) {
            held.blobs.push(value);
        }
    }
    held
}

/// The snapshots of a snapshotter, with what each takes.
async fn measured(client: &Client, snapshotter: &str) -> Result<Vec<(Place, Snapshot)>> {
    let step = || format!("list snapshots of {snapshotter}");
    let request = snapshots::ListSnapshotsRequest {
        snapshotter: snapshotter.to_owned(),
        ..Default::default()
    };
    let mut pieces =
        client.snapshots().list(client.request(request)).await.step(step)?.into_inner();
    let mut listed = Vec::new();
    while let Some(piece) = pieces.message().await.step(step)? {
        listed.extend(piece.info);
    }
    let measure = |info: snapshots::Info| async move {
        let (snapshotter, key) = (snapshotter.to_owned(), info.name.clone());
        let request = snapshots::UsageRequest { snapshotter: snapshotter.clone(), key };
        let answer = client.snapshots().usage(client.request(request)).await.optional();
        let answer = answer.step(|| format!("measure snapshot {}", info.name))?;
        // One that is gone by now takes nothing.
        let size = answer.map_or(0, |of| u64::try_from(of.into_inner().size).unwrap_or(0));
        let snapshot = Snapshot { parent: info.parent, size };
        Ok(((snapshotter, info.name), snapshot))
    };
    futures::stream::iter(listed).map(measure).buffered(MEASURED).try_collect().await
}

impl Space {
    /// All that an image needs, of what is here.
    pub fn needs(&self, namespace: &str, image: &str) -> BTreeSet<Item> {
        let mut needed = BTreeSet::new();
        let mut todo: Vec<&str> = self.images.get(image).map(String::as_str).into_iter().collect();
        while let Some(digest) = todo.pop() {
            let Some(held) = self.blobs.get(digest) else { continue };
            if needed.insert(Item::Blob(digest.to_owned())) {
                todo.extend(held.blobs.iter().map(String::as_str));
                for place in &held.snapshots {
                    needed.extend(self.chain(place).map(|at| Item::Snapshot(namespace.into(), at)));
                }
            }
        }
        needed
    }

    /// A snapshot and those below it.
    pub fn chain(&self, place: &Place) -> impl Iterator<Item = Place> {
        let mut next = self.snapshots.contains_key(place).then(|| place.clone());
        // No chain has more than there are: whatever is told, this ends.
        let steps = std::iter::from_fn(move || {
            let now = next.take()?;
            let parent = self.snapshots.get(&now).map(|of| &of.parent);
            let above = parent.filter(|parent| !parent.is_empty());
            next = above.map(|parent| (now.0.clone(), parent.clone()));
            Some(now)
        });
        steps.take(self.snapshots.len())
    }

    /// What an item takes.
    pub fn size(&self, item: &Item) -> u64 {
        match item {
            Item::Blob(digest) => self.blobs.get(digest).map_or(0, |blob| blob.size),
            Item::Snapshot(_, place) => self.snapshots.get(place).map_or(0, |of| of.size),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two images with a layer in common, of blobs and of snapshots.
    pub fn two_images() -> Space {
        let mut space = Space::default();
        let mut blob = |name: &str, size, blobs: &[&str], snapshot: Option<&str>| {
            let blobs = blobs.iter().map(|of| (*of).to_owned()).collect();
            let snapshots = snapshot.map(|key| ("o".to_owned(), key.to_owned()));
            let held = Held { size, blobs, snapshots: snapshots.into_iter().collect() };
            space.blobs.insert(name.to_owned(), held);
        };
        blob("m1", 1, &["c1", "base"], None);
        blob("m2", 1, &["c2", "base", "top"], None);
        blob("c1", 2, &[], Some("low"));
        blob("c2", 2, &[], Some("high"));
        blob("base", 100, &[], None);
        blob("top", 30, &["m2"], None);
        for (name, target) in [("one", "m1"), ("two", "m2")] {
            space.images.insert(name.to_owned(), target.to_owned());
        }
        for (key, parent, size) in [("low", "", 1000), ("high", "low", 300)] {
            let snapshot = Snapshot { parent: parent.to_owned(), size };
            space.snapshots.insert(("o".to_owned(), key.to_owned()), snapshot);
        }
        space
    }

    #[test]
    fn an_image_needs_what_its_labels_lead_to() {
        let space = two_images();
        let sum = |image| space.needs("n", image).iter().map(|item| space.size(item)).sum::<u64>();
        assert_eq!((sum("one"), sum("two"), sum("none")), (1103, 1433, 0));
    }

    #[test]
    fn a_chain_that_leads_back_ends() {
        let mut space = two_images();
        let low = ("o".to_owned(), "low".to_owned());
        space.snapshots.get_mut(&low).unwrap().parent = "high".to_owned();
        assert_eq!(space.chain(&low).count(), 2);
    }
}
