//! A client of containerd's API on a socket, as small as the measures allow.

use std::path::Path;

use anyhow::Result;
use berth_grpc::Channel;
use berth_ids::Namespace;
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use berth_proto::containerd::services::content::v1::content_client::ContentClient;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::services::images::v1::images_client::ImagesClient;
use berth_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use berth_proto::containerd::services::snapshots::v1::{self as snapshots, Kind};
use berth_proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use berth_proto::containerd::services::version::v1::version_client::VersionClient;
use prost_types::Any;
use tonic::Request;

/// The snapshotter that both have.
pub const SNAPSHOTTER: &str = "overlayfs";
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A client. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    namespace: Namespace,
}

impl Client {
    /// A client of the socket. Connects with its first call.
    pub fn new(socket: &Path) -> Self {
        let namespace = "measure".parse().expect("a namespace");
        Self { channel: berth_grpc::channel(socket), namespace }
    }

    /// A request in the namespace.
    pub fn request<T>(&self, message: T) -> Request<T> {
        berth_grpc::with_namespace(message, &self.namespace)
    }

    /// Its connection.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Containers.
    pub fn containers(&self) -> ContainersClient<Channel> {
        let client = ContainersClient::new(self.channel.clone());
        client.max_decoding_message_size(berth_grpc::MAX_MESSAGE)
    }

    /// Images.
    pub fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone())
    }

    /// Content.
    pub fn content(&self) -> ContentClient<Channel> {
        let client = ContentClient::new(self.channel.clone());
        client.max_decoding_message_size(berth_grpc::MAX_MESSAGE)
    }

    /// Snapshots.
    pub fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    /// Tasks.
    pub fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone())
    }

    /// Asks for the version.
    pub async fn version(&self) -> Result<()> {
        VersionClient::new(self.channel.clone()).version(()).await?;
        Ok(())
    }

    /// What is asked when a node has just started: the version, and lists of what there is.
    pub async fn first_answers(&self) -> Result<()> {
        self.version().await?;
        self.images().list(self.request(images::ListImagesRequest::default())).await?;
        let request = snapshots::ListSnapshotsRequest {
            snapshotter: SNAPSHOTTER.into(),
            ..Default::default()
        };
        let mut stream = self.snapshots().list(self.request(request)).await?.into_inner();
        while stream.message().await?.is_some() {}
        self.list_containers().await?;
        Ok(())
    }

    /// Lists all containers; answers how many there are.
    pub async fn list_containers(&self) -> Result<usize> {
        let request = self.request(containers::ListContainersRequest::default());
        let mut stream = self.containers().list_stream(request).await?.into_inner();
        let mut count = 0;
        while stream.message().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Makes a container's record.
    pub async fn create_container(&self, id: &str, spec: &[u8], snapshot: &str) -> Result<()> {
        let runtime =
            containers::container::Runtime { name: "io.containerd.runc.v2".into(), options: None };
        let container = containers::Container {
            id: id.into(),
            runtime: Some(runtime),
            spec: Some(Any { type_url: SPEC.into(), value: spec.to_vec() }),
            snapshotter: SNAPSHOTTER.into(),
            snapshot_key: snapshot.into(),
            ..Default::default()
        };
        let request = containers::CreateContainerRequest { container: Some(container) };
        self.containers().create(self.request(request)).await?;
        Ok(())
    }

    /// Removes a container's record.
    pub async fn delete_container(&self, id: &str) -> Result<()> {
        let request = containers::DeleteContainerRequest { id: id.into() };
        self.containers().delete(self.request(request)).await?;
        Ok(())
    }

    /// Prepares a snapshot; answers how it is mounted.
    pub async fn prepare(
        &self,
        key: &str,
        parent: &str,
    ) -> Result<Vec<berth_proto::containerd::types::Mount>> {
        let request = snapshots::PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: key.into(),
            parent: parent.into(),
            ..Default::default()
        };
        Ok(self.snapshots().prepare(self.request(request)).await?.into_inner().mounts)
    }

    /// Removes a snapshot.
    pub async fn remove_snapshot(&self, key: &str) -> Result<()> {
        let request =
            snapshots::RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: key.into() };
        self.snapshots().remove(self.request(request)).await?;
        Ok(())
    }

    /// The name of the one committed snapshot that nothing is committed upon.
    pub async fn top_snapshot(&self) -> Result<String> {
        let request = snapshots::ListSnapshotsRequest {
            snapshotter: SNAPSHOTTER.into(),
            ..Default::default()
        };
        let mut stream = self.snapshots().list(self.request(request)).await?.into_inner();
        let mut all = Vec::new();
        while let Some(part) = stream.message().await? {
            all.extend(part.info.into_iter().filter(|info| info.kind() == Kind::Committed));
        }
        let is_parent = |name: &str| all.iter().any(|info| info.parent == name);
        let top = all.iter().find(|info| !is_parent(&info.name));
        Ok(top.map(|info| info.name.clone()).unwrap_or_default())
    }
}
