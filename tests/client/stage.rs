//! A node with an image, and connections to it.

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Node, Registry};
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{Kind, RemoveSnapshotRequest};
use containerd_client::services::v1::snapshots::{ListSnapshotsRequest, PrepareSnapshotRequest};
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{self as services, Container};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, IntoRequest, Request, Status};
use prost_types::Any;
use serde_json::json;

/// The namespace of all that is done here, unless a client goes to another.
pub const NAMESPACE: &str = "client";
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A node that has busybox unpacked.
pub struct Stage {
    pub node: Node,
    /// The image's full name.
    pub image: String,
    /// The snapshotter that is used where none is named.
    pub snapshotter: String,
    /// The image's top snapshot.
    pub top: String,
    pub registry: Registry,
}

impl Stage {
    pub async fn new() -> Result<Self> {
        Self::with("").await
    }

    /// The same with a configuration of the node's.
    pub async fn with(config: &str) -> Result<Self> {
        Self::on(Node::start_with(config)?).await
    }

    /// The same on a node that was started otherwise.
    pub async fn on(node: Node) -> Result<Self> {
        let registry = Registry::start()?;
        let image = Image::busybox()?.push(&registry, "busybox:1")?;
        node.berth(&format!("--namespace {NAMESPACE} pull -q {image}")).output()?.ok()?;
        let plugins = node.ctr("plugins ls").output()?.ok()?;
        let works = |name: &str| {
            plugins.lines().any(|line| {
                line.contains("snapshotter") && line.contains(name) && line.ends_with("ok        ")
            })
        };
        let snapshotter = if works("overlayfs") { "overlayfs" } else { "native" }.to_owned();
        let mut stage = Self { node, image, snapshotter, top: String::new(), registry };
        stage.top = stage.client().await?.top().await?;
        Ok(stage)
    }

    /// A connection of its own.
    pub async fn client(&self) -> Result<Client> {
        let channel = containerd_client::connect(self.node.address()).await?;
        let (namespace, snapshotter) = (NAMESPACE.to_owned(), self.snapshotter.clone());
        Ok(Client { channel, namespace, lease: None, snapshotter, traceparent: None })
    }
}

/// A connection, in a namespace and maybe under a lease.
#[derive(Clone)]
pub struct Client {
    pub channel: Channel,
    pub namespace: String,
    pub lease: Option<String>,
    pub snapshotter: String,
    /// What all calls are part of.
    pub traceparent: Option<String>,
}

impl Client {
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = message.into_request();
        let headers = request.metadata_mut();
        headers.insert("containerd-namespace", self.namespace.parse().expect("a value"));
        if let Some(lease) = &self.lease {
            headers.insert("containerd-lease", lease.parse().expect("a value"));
        }
        if let Some(parent) = &self.traceparent {
            headers.insert("traceparent", parent.parse().expect("a value"));
        }
        request
    }

    pub fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    pub fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    pub fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    pub fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    pub fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone())
    }

    /// Makes a lease and works under it from now on.
    pub async fn leased(mut self, id: &str) -> Result<Self> {
        let lease = services::CreateRequest { id: id.to_owned(), ..Default::default() };
        LeasesClient::new(self.channel.clone()).create(self.request(lease)).await?;
        self.lease = Some(id.to_owned());
        Ok(self)
    }

    async fn top(&self) -> Result<String> {
        let snapshotter = self.snapshotter.clone();
        let list = ListSnapshotsRequest { snapshotter, ..Default::default() };
        let mut listed = self.snapshots().list(self.request(list)).await?.into_inner();
        let mut all = Vec::new();
        while let Some(part) = listed.message().await? {
            all.extend(part.info);
        }
        let parent = |name: &str| all.iter().any(|info| info.parent == name);
        let top = all.iter().find(|i| i.kind() == Kind::Committed && !parent(&i.name));
        Ok(top.context("no committed snapshot")?.name.clone())
    }

    /// Makes the record of a container, with a specification if it is to run these arguments.
    pub async fn create(&self, id: &str, args: &[&str]) -> Result<(), Status> {
        let spec = spec(id, args).to_string().into_bytes();
        let container = Container {
            id: id.to_owned(),
            runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: None }),
            spec: Some(Any { type_url: SPEC.into(), value: spec }),
            snapshotter: self.snapshotter.clone(),
            snapshot_key: id.to_owned(),
            ..Default::default()
        };
        let request = services::CreateContainerRequest { container: Some(container) };
        self.containers().create(self.request(request)).await.map(drop)
    }

    /// Prepares the rootfs, makes the container and its task, and starts it.
    pub async fn start(&self, top: &str, id: &str, args: &[&str]) -> Result<u32> {
        let prepare = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: id.to_owned(),
            parent: top.to_owned(),
            ..Default::default()
        };
        let mounts = self.snapshots().prepare(self.request(prepare)).await.context("prepare")?;
        self.create(id, args).await.context("create a container")?;
        let task = services::CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs: mounts.into_inner().mounts,
            ..Default::default()
        };
        let pid = self.tasks().create(self.request(task)).await.context("create a task")?;
        let start = services::StartRequest { container_id: id.to_owned(), ..Default::default() };
        self.tasks().start(self.request(start)).await.context("start")?;
        Ok(pid.into_inner().pid)
    }

    /// Waits for a task, or one of its execs.
    pub async fn wait(&self, id: &str, exec: &str) -> Result<u32> {
        let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
        let wait = services::WaitRequest { container_id, exec_id };
        let ended = self.tasks().wait(self.request(wait)).await.context("wait")?;
        Ok(ended.into_inner().exit_status)
    }

    /// Deletes a task that has ended, its container and its rootfs.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let delete = services::DeleteTaskRequest { container_id: id.to_owned() };
        self.tasks().delete(self.request(delete)).await.context("delete a task")?;
        self.delete(id).await.context("delete a container")?;
        let (snapshotter, key) = (self.snapshotter.clone(), id.to_owned());
        let remove = RemoveSnapshotRequest { snapshotter, key };
        self.snapshots().remove(self.request(remove)).await.context("remove a snapshot")?;
        Ok(())
    }

    pub async fn delete(&self, id: &str) -> Result<(), Status> {
        let delete = services::DeleteContainerRequest { id: id.to_owned() };
        self.containers().delete(self.request(delete)).await.map(drop)
    }

    pub async fn kill(&self, id: &str) -> Result<()> {
        let kill = services::KillRequest {
            container_id: id.to_owned(),
            signal: 9,
            all: true,
            ..Default::default()
        };
        self.tasks().kill(self.request(kill)).await.context("kill")?;
        Ok(())
    }

    /// Runs a program in a container to its end.
    pub async fn exec(&self, id: &str, exec: &str, args: &[&str]) -> Result<u32> {
        let process = json!({
            "args": args, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"],
        });
        let type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
        let spec = Some(Any { type_url, value: process.to_string().into_bytes() });
        let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
        let request = services::ExecProcessRequest {
            container_id: container_id.clone(),
            exec_id: exec_id.clone(),
            spec,
            ..Default::default()
        };
        self.tasks().exec(self.request(request)).await.context("exec")?;
        let start =
            services::StartRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
        self.tasks().start(self.request(start)).await.context("start an exec")?;
        let code = self.wait(id, exec).await?;
        let delete = services::DeleteProcessRequest { container_id, exec_id };
        let deleted = self.tasks().delete_process(self.request(delete)).await?.into_inner();
        ensure!(deleted.exit_status == code, "{} is not {code}", deleted.exit_status);
        Ok(code)
    }
}

/// What a status must be, with words that it must have.
pub fn refused<T>(answer: Result<T, Status>, code: Code, words: &str) -> Result<()> {
    let status = answer.err().with_context(|| format!("{code:?} {words:?}: it is done"))?;
    ensure!(
        status.code() == code && status.message().contains(words),
        "not {code:?} {words:?}: {status}"
    );
    Ok(())
}

/// A specification, as small as runc takes it.
fn spec(id: &str, args: &[&str]) -> serde_json::Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": args, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"],
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": format!("/{NAMESPACE}/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
        },
    })
}
