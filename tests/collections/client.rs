//! A client of the node. A call that a kill cut off or that a service refused because another was
//! away is made again until its answer tells what is so: the same call again does no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_ids::Namespace;
use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use containers::containers_client::ContainersClient;
use content::content_client::ContentClient;
use leases::leases_client::LeasesClient;
use node::collection_client::CollectionClient;
use snapshots::snapshots_client::SnapshotsClient;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status, Streaming};

use crate::model::Thing;

/// How long a node may take to answer again.
const BACK: Duration = Duration::from_secs(60);

pub const SNAPSHOTTER: &str = "overlayfs";

pub type Answer<T> = std::result::Result<T, Status>;
pub type Labels = BTreeMap<String, String>;

pub struct Client {
    pub channel: Channel,
    namespace: Namespace,
}

/// A blob or snapshot as it is listed.
pub struct Listed {
    pub thing: Thing,
    pub parent: String,
    pub labels: Labels,
    pub committed: bool,
}

impl Client {
    pub fn new(address: &Path) -> Result<Self> {
        Ok(Self { channel: berth_grpc::channel(address), namespace: "default".parse()? })
    }

    /// The same client in another namespace.
    pub fn within(&self, namespace: &str) -> Result<Self> {
        Ok(Self { channel: self.channel.clone(), namespace: namespace.parse()? })
    }

    pub fn on<T>(&self, message: T) -> Request<T> {
        with_namespace(message, &self.namespace)
    }

    pub fn under<T>(&self, lease: &str, message: T) -> Answer<Request<T>> {
        with_lease(self.on(message), lease).map_err(|error| Status::internal(error.to_string()))
    }

    /// All blobs and snapshots. Listing does not count as using them.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        ask("list", async || {
            let request = content::ListContentRequest::default();
            let blobs = all(self.blobs().list(self.on(request)).await?.into_inner()).await?;
            let snapshotter = SNAPSHOTTER.to_owned();
            let request = snapshots::ListSnapshotsRequest { snapshotter, filters: vec![] };
            let stored = all(self.snapshots().list(self.on(request)).await?.into_inner()).await?;
            let blobs = blobs.into_iter().flat_map(|chunk| chunk.info).map(Listed::blob);
            let stored = stored.into_iter().flat_map(|chunk| chunk.info).map(Listed::snapshot);
            let others = self.expired().await?.into_iter().chain(self.mounted().await?);
            Ok(blobs.chain(stored).chain(others).chain(self.ingests().await?).collect())
        })
        .await
    }

    /// The names of all blobs and snapshots.
    pub async fn there(&self) -> Result<BTreeSet<Thing>> {
        Ok(self.list().await?.into_iter().map(|listed| listed.thing).collect())
    }

    pub async fn containers(&self) -> Result<BTreeSet<String>> {
        ask("list containers", async || {
            let request = self.on(containers::ListContainersRequest::default());
            let found = self.container_store().list(request).await?.into_inner().containers;
            Ok(found.into_iter().map(|container| container.id).collect())
        })
        .await
    }

    pub async fn leases(&self) -> Result<BTreeSet<String>> {
        ask("list leases", async || {
            let request = self.on(leases::ListRequest::default());
            let found = self.lessor().list(request).await?.into_inner().leases;
            Ok(found.into_iter().map(|lease| lease.id).collect())
        })
        .await
    }

    /// Writes a blob under a lease.
    pub async fn write(
        &self,
        lease: &str,
        digest: &str,
        data: &[u8],
        labels: &Labels,
    ) -> Result<()> {
        let mut tries = 0;
        make("write blob", async || {
            tries += 1;
            let message = content::WriteContentRequest {
                action: content::WriteAction::Commit.into(),
                // One that a kill cut off may have begun in part.
                r#ref: format!("{digest}-{tries}"),
                total: data.len() as i64,
                expected: digest.to_owned(),
                data: data.to_vec().into(),
                labels: wire(labels),
                ..Default::default()
            };
            let request = self.under(lease, tokio_stream::iter([message]))?;
            all(self.blobs().write(request).await?.into_inner()).await
        })
        .await?;
        // What a cut-off try has begun the lease holds.
        for earlier in 1..tries {
            self.abort(&format!("{digest}-{earlier}")).await?;
        }
        Ok(())
    }

    /// Replaces a blob's labels; false if it is not there.
    pub async fn label_blob(&self, digest: &str, labels: &Labels) -> Result<bool> {
        there("label blob", async || {
            let info = content::Info {
                digest: digest.to_owned(),
                labels: wire(labels),
                ..Default::default()
            };
            let request = content::UpdateRequest { info: Some(info), update_mask: mask() };
            self.blobs().update(self.on(request)).await
        })
        .await
    }

    /// Makes an active snapshot under a lease; false if its parent is not there.
    pub async fn prepare(
        &self,
        lease: &str,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<bool> {
        there("prepare snapshot", async || {
            let request = snapshots::PrepareSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                key: key.to_owned(),
                parent: parent.to_owned(),
                labels: wire(labels),
            };
            self.snapshots().prepare(self.under(lease, request)?).await
        })
        .await
    }

    /// Commits an active snapshot under a lease.
    pub async fn commit(&self, lease: &str, key: &str, name: &str, labels: &Labels) -> Result<()> {
        make("commit snapshot", async || {
            let request = snapshots::CommitSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                key: key.to_owned(),
                name: name.to_owned(),
                labels: wire(labels),
                ..Default::default()
            };
            self.snapshots().commit(self.under(lease, request)?).await
        })
        .await
    }

    /// Replaces a snapshot's labels; false if it is not there.
    pub async fn label_snapshot(&self, key: &str, labels: &Labels) -> Result<bool> {
        there("label snapshot", async || {
            let info = snapshots::Info {
                name: key.to_owned(),
                labels: wire(labels),
                ..Default::default()
            };
            let request = snapshots::UpdateSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                info: Some(info),
                update_mask: mask(),
            };
            self.snapshots().update(self.on(request)).await
        })
        .await
    }

    pub async fn create_container(&self, id: &str, snapshot: &str, labels: &Labels) -> Result<()> {
        make("create container", async || {
            let container = Some(container(id, snapshot, labels));
            let request = containers::CreateContainerRequest { container };
            self.container_store().create(self.on(request)).await
        })
        .await
    }

    /// Replaces a container's snapshot and labels.
    pub async fn update_container(&self, id: &str, snapshot: &str, labels: &Labels) -> Result<()> {
        make("update container", async || {
            let container = Some(container(id, snapshot, labels));
            let request = containers::UpdateContainerRequest { container, update_mask: None };
            self.container_store().update(self.on(request)).await
        })
        .await
    }

    pub async fn delete_container(&self, id: &str) -> Result<()> {
        there("delete container", async || {
            let request = containers::DeleteContainerRequest { id: id.to_owned() };
            self.container_store().delete(self.on(request)).await
        })
        .await
        .map(drop)
    }

    /// A flat one holds things without what they refer to.
    pub async fn create_lease(&self, id: &str, flat: bool, expiry: Option<&str>) -> Result<()> {
        make("create lease", async || {
            let label =
                |key: &str, value: &str| (format!("containerd.io/gc.{key}"), value.to_owned());
            let flat = flat.then(|| label("flat", "yes"));
            let labels = flat.into_iter().chain(expiry.map(|at| label("expire", at))).collect();
            let request = leases::CreateRequest { id: id.to_owned(), labels };
            self.lessor().create(self.on(request)).await
        })
        .await
    }

    pub async fn delete_lease(&self, id: &str, sync: bool) -> Result<()> {
        there("delete lease", async || {
            let request = leases::DeleteRequest { id: id.to_owned(), sync };
            self.lessor().delete(self.on(request)).await
        })
        .await
        .map(drop)
    }

    /// False if the lease is not there.
    pub async fn hold(&self, lease: &str, thing: &Thing) -> Result<bool> {
        there("add resource", async || {
            let resource = Some(resource(thing));
            let request = leases::AddResourceRequest { id: lease.to_owned(), resource };
            self.lessor().add_resource(self.on(request)).await
        })
        .await
    }

    pub async fn release(&self, lease: &str, thing: &Thing) -> Result<()> {
        make("delete resource", async || {
            let resource = Some(resource(thing));
            let request = leases::DeleteResourceRequest { id: lease.to_owned(), resource };
            self.lessor().delete_resource(self.on(request)).await
        })
        .await
    }

    /// Runs a collection to its end.
    pub async fn collect(&self) -> Result<()> {
        ask("collect", async || {
            let mut client = CollectionClient::new(self.channel.clone());
            client.collect(node::CollectRequest {}).await.map(drop)
        })
        .await
    }

    pub fn blobs(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone())
    }

    pub fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    fn container_store(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone())
    }

    fn lessor(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel.clone())
    }
}

impl Listed {
    /// By its name alone.
    pub fn named(thing: Thing) -> Self {
        Self { thing, parent: String::new(), labels: Labels::new(), committed: false }
    }

    fn blob(info: content::Info) -> Self {
        let (thing, labels) = (Thing::Blob(info.digest), info.labels.into_iter().collect());
        Self { thing, parent: String::new(), labels, committed: false }
    }

    fn snapshot(info: snapshots::Info) -> Self {
        let committed = info.kind() == snapshots::Kind::Committed;
        let (thing, labels) = (Thing::Snapshot(info.name), info.labels.into_iter().collect());
        Self { thing, parent: info.parent, labels, committed }
    }
}

fn container(id: &str, snapshot: &str, labels: &Labels) -> containers::Container {
    let name = "io.containerd.runc.v2".to_owned();
    containers::Container {
        id: id.to_owned(),
        runtime: Some(containers::container::Runtime { name, options: None }),
        spec: Some(prost_types::Any::default()),
        snapshotter: SNAPSHOTTER.to_owned(),
        snapshot_key: snapshot.to_owned(),
        labels: wire(labels),
        ..Default::default()
    }
}

fn resource(thing: &Thing) -> leases::Resource {
    let (kind, id) = match thing {
        Thing::Blob(digest) => ("content".to_owned(), digest),
        Thing::Snapshot(key) => (format!("snapshots/{SNAPSHOTTER}"), key),
        Thing::Image(name) => ("images".to_owned(), name),
        Thing::Mount(name) => ("mounts".to_owned(), name),
        Thing::Ingest(name) => ("ingests".to_owned(), name),
    };
    leases::Resource { id: id.clone(), r#type: kind }
}

pub fn wire(labels: &Labels) -> HashMap<String, String> {
    labels.clone().into_iter().collect()
}

fn mask() -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: vec!["labels".to_owned()] })
}

pub async fn all<T>(mut stream: Streaming<T>) -> Answer<Vec<T>> {
    let mut found = Vec::new();
    while let Some(message) = stream.next().await {
        found.push(message?);
    }
    Ok(found)
}

/// Asks until there is an answer.
pub async fn ask<T>(what: &str, call: impl AsyncFnMut() -> Answer<T>) -> Result<T> {
    definite(what, call).await?.with_context(|| what.to_owned())
}

/// Makes something, which an earlier try may have made.
pub async fn make<T>(what: &str, call: impl AsyncFnMut() -> Answer<T>) -> Result<()> {
    match definite(what, call).await? {
        Err(status) if status.code() != Code::AlreadyExists => Err(status).context(what.to_owned()),
        _ => Ok(()),
    }
}

/// Does something to what may not be there, or not any more after an earlier try. Answers whether
/// it was.
pub async fn there<T>(what: &str, call: impl AsyncFnMut() -> Answer<T>) -> Result<bool> {
    match definite(what, call).await? {
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) if status.code() != Code::AlreadyExists => Err(status).context(what.to_owned()),
        _ => Ok(true),
    }
}

/// Makes a call until the answer tells what is so.
async fn definite<T>(what: &str, mut call: impl AsyncFnMut() -> Answer<T>) -> Result<Answer<T>> {
    let begun = Instant::now();
    loop {
        match call().await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Aborted) => {
                ensure!(begun.elapsed() < BACK, "{what}: {status}");
                // What is waited for nobody announces: a service comes back.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return Ok(answer),
        }
    }
}
