//! What ctr has no words for, called over gRPC.

use anyhow::Result;
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::mounts::v1 as mounts;
use berth_proto::containerd::services::sandbox::v1 as sandbox;
use berth_proto::containerd::services::tasks::v1 as tasks;
use berth_proto::containerd::types::{Mount, Sandbox, sandbox::Runtime};
use berth_testkit::{Node, sha256};
use content::content_client::ContentClient;
use leases::leases_client::LeasesClient;
use mounts::mounts_client::MountsClient;
use sandbox::controller_client::ControllerClient;
use sandbox::store_client::StoreClient;
use tasks::tasks_client::TasksClient;
use tonic::{Request, Status};

use crate::theirs::Ask;

const NAMESPACE: &str = "default";
/// By which controller sandboxes run.
const SANDBOXER: &str = "shim";
const ROOT: (&str, &str) = ("containerd.io/gc.root", "1");

/// A call, and what it is about.
#[derive(Clone, Debug)]
pub enum Call {
    /// Writes a blob in two pieces.
    Put {
        namespace: String,
        bytes: Vec<u8>,
    },
    /// Puts a blob that is there under a lease.
    Lease {
        lease: String,
        bytes: Vec<u8>,
    },
    /// Puts a thing of a kind under a lease.
    Hold {
        lease: String,
        kind: &'static str,
        id: String,
    },
    /// Takes it from the lease.
    Release {
        lease: String,
        kind: &'static str,
        id: String,
    },
    /// Makes a disk in a file, mounts it and makes a directory on it.
    Activate {
        name: String,
    },
    /// Mounts a folder.
    Bind {
        name: String,
        folder: String,
    },
    Deactivate {
        name: String,
    },
    /// Saves a container that runs, under a lease.
    Checkpoint {
        container: String,
        lease: String,
    },
    RecordSandbox {
        id: String,
    },
    LabelSandbox {
        id: String,
    },
    ForgetSandbox {
        id: String,
    },
    MakeSandbox {
        id: String,
    },
    StartSandbox {
        id: String,
    },
    EndSandbox {
        id: String,
    },
    /// About what a snapshotter of others has.
    Theirs(Ask),
}

/// What can be listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listing {
    Mounts,
    /// What a lease holds.
    Held(String),
    /// Records, with labels.
    Sandboxes,
    /// This one, if it runs.
    Running(String),
}

impl Call {
    /// # Errors
    /// What the node says.
    pub fn make(&self, node: &Node) -> Result<(), Status> {
        block_on(node, |channel| self.ask(node, channel))
    }

    async fn ask(&self, node: &Node, channel: Channel) -> Result<(), Status> {
        match self {
            Self::Put { namespace, bytes } => put(channel, namespace, bytes).await,
            Self::Lease { lease, bytes } => claim(channel, lease, bytes).await,
            Self::Hold { lease, kind, id } => {
                let resource = Some(leases::Resource { id: id.clone(), r#type: (*kind).into() });
                let request = leases::AddResourceRequest { id: lease.clone(), resource };
                LeasesClient::new(channel).add_resource(on(request)?).await.map(drop)
            }
            Self::Release { lease, kind, id } => {
                let resource = Some(leases::Resource { id: id.clone(), r#type: (*kind).into() });
                let request = leases::DeleteResourceRequest { id: lease.clone(), resource };
                LeasesClient::new(channel).delete_resource(on(request)?).await.map(drop)
            }
            Self::Activate { name } => activate(channel, name, disk(node, name), false).await,
            Self::Bind { name, folder } => activate(channel, name, bind(folder), true).await,
            Self::Deactivate { name } => {
                let request = mounts::DeactivateRequest { name: name.clone() };
                MountsClient::new(channel).deactivate(on(request)?).await.map(drop)
            }
            Self::Checkpoint { container, lease } => {
                let container_id = container.clone();
                let request = tasks::CheckpointTaskRequest { container_id, ..Default::default() };
                let request = with_lease(on(request)?, lease).map_err(internal)?;
                TasksClient::new(channel).checkpoint(request).await.map(drop)
            }
            Self::Theirs(ask) => ask.make(channel).await,
            _ => self.ask_sandbox(channel).await,
        }
    }

    async fn ask_sandbox(&self, channel: Channel) -> Result<(), Status> {
        let mut store = StoreClient::new(channel.clone());
        let mut controller = ControllerClient::new(channel);
        let sandboxer = SANDBOXER.to_owned();
        match self {
            Self::RecordSandbox { id } => {
                let request = sandbox::StoreCreateRequest { sandbox: Some(record(id, "new")) };
                store.create(on(request)?).await.map(drop)
            }
            Self::LabelSandbox { id } => {
                let (sandbox, fields) = (Some(record(id, "changed")), vec!["labels".to_owned()]);
                store.update(on(sandbox::StoreUpdateRequest { sandbox, fields })?).await.map(drop)
            }
            Self::ForgetSandbox { id } => {
                let request = sandbox::StoreDeleteRequest { sandbox_id: id.clone() };
                store.delete(on(request)?).await.map(drop)
            }
            Self::MakeSandbox { id } => {
                let request = sandbox::ControllerCreateRequest {
                    sandbox_id: id.clone(),
                    sandboxer,
                    sandbox: Some(record(id, "new")),
                    netns_path: "/proc/self/ns/net".into(),
                    ..Default::default()
                };
                controller.create(on(request)?).await.map(drop)
            }
            Self::StartSandbox { id } => {
                let request = sandbox::ControllerStartRequest { sandbox_id: id.clone(), sandboxer };
                controller.start(on(request)?).await.map(drop)
            }
            Self::EndSandbox { id } => {
                let sandbox_id = id.clone();
                let request = sandbox::ControllerShutdownRequest { sandbox_id, sandboxer };
                controller.shutdown(on(request)?).await.map(drop)
            }
            other => Err(Status::unimplemented(format!("{other:?} is about no sandbox"))),
        }
    }
}

impl Listing {
    /// A line for each.
    ///
    /// # Errors
    /// What the node says.
    pub fn list(&self, node: &Node) -> Result<String, Status> {
        block_on(node, |channel| self.ask(channel))
    }

    async fn ask(&self, channel: Channel) -> Result<String, Status> {
        let mut names = Vec::new();
        match self {
            Self::Mounts => {
                let request = on(mounts::ListRequest::default())?;
                let mut list = MountsClient::new(channel).list(request).await?.into_inner();
                while let Some(message) = list.message().await? {
                    names.extend(message.info.map(|info| info.name));
                }
            }
            Self::Held(lease) => {
                let request = on(leases::ListResourcesRequest { id: lease.clone() })?;
                match LeasesClient::new(channel).list_resources(request).await {
                    Ok(held) => {
                        names.extend(held.into_inner().resources.into_iter().map(|held| held.id));
                    }
                    Err(gone) if gone.code() == tonic::Code::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Self::Sandboxes => {
                let request = on(sandbox::StoreListRequest::default())?;
                let found = StoreClient::new(channel).list(request).await?.into_inner().list;
                let shown = |one: Sandbox| format!("{} {:?}", one.sandbox_id, one.labels);
                names.extend(found.into_iter().map(shown));
            }
            Self::Running(id) => {
                let (sandbox_id, sandboxer) = (id.clone(), SANDBOXER.to_owned());
                let request =
                    sandbox::ControllerStatusRequest { sandbox_id, sandboxer, verbose: false };
                let found = ControllerClient::new(channel).status(on(request)?).await?.into_inner();
                names.push(format!("{id} {}", found.state));
            }
        }
        Ok(names.join("\n"))
    }
}

fn block_on<T, F>(node: &Node, call: impl FnOnce(Channel) -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(internal)?;
    // The channel belongs to the runtime.
    runtime.block_on(async { call(berth_grpc::channel(&node.address())).await })
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn within<T>(namespace: &str, message: T) -> Result<Request<T>, Status> {
    Ok(with_namespace(message, &namespace.parse().map_err(internal)?))
}

pub fn on<T>(message: T) -> Result<Request<T>, Status> {
    within(NAMESPACE, message)
}

pub fn labels(pairs: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The first piece does not say which blob it is of: the bytes are written whoever has that.
async fn put(channel: Channel, namespace: &str, bytes: &[u8]) -> Result<(), Status> {
    let digest = sha256(bytes);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    // What an earlier try has left is not gone on with.
    let reference = format!("{digest}-{:?}", std::time::SystemTime::now());
    let pieces = [
        content::WriteContentRequest {
            action: content::WriteAction::Write.into(),
            r#ref: reference.clone(),
            data: first.to_vec().into(),
            ..Default::default()
        },
        content::WriteContentRequest {
            action: content::WriteAction::Commit.into(),
            r#ref: reference,
            offset: first.len() as i64,
            data: second.to_vec().into(),
            total: bytes.len() as i64,
            expected: digest,
            labels: labels(&[ROOT]),
        },
    ];
    let request = within(namespace, tokio_stream::iter(pieces))?;
    to_its_end(ContentClient::new(channel).write(request).await?.into_inner()).await
}

async fn claim(channel: Channel, lease: &str, bytes: &[u8]) -> Result<(), Status> {
    let piece = content::WriteContentRequest {
        action: content::WriteAction::Stat.into(),
        r#ref: format!("claim-{lease}"),
        total: bytes.len() as i64,
        expected: sha256(bytes),
        ..Default::default()
    };
    let request = with_lease(on(tokio_stream::iter([piece]))?, lease).map_err(internal)?;
    let written = match ContentClient::new(channel).write(request).await {
        Ok(answers) => to_its_end(answers.into_inner()).await,
        Err(error) => Err(error),
    };
    match written {
        // It is there, and the lease holds it by that.
        Err(error) if error.code() == tonic::Code::AlreadyExists => Ok(()),
        other => other,
    }
}

async fn to_its_end(
    mut answers: tonic::Streaming<content::WriteContentResponse>,
) -> Result<(), Status> {
    while answers.message().await?.is_some() {}
    Ok(())
}

async fn activate(
    channel: Channel,
    name: &str,
    mounts: Vec<Mount>,
    temporary: bool,
) -> Result<(), Status> {
    let (name, labels) = (name.to_owned(), labels(&[ROOT]));
    let request = mounts::ActivateRequest { name, mounts, labels, temporary };
    MountsClient::new(channel).activate(on(request)?).await.map(drop)
}

fn mount(kind: &str, source: String, options: &[&str]) -> Mount {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Mount { r#type: kind.into(), source, target: String::new(), options }
}

fn bind(folder: &str) -> Vec<Mount> {
    vec![mount("bind", folder.to_owned(), &["rbind", "ro"])]
}

fn disk(node: &Node, name: &str) -> Vec<Mount> {
    let file = node.path("root").join(format!("{name}.img")).display().to_string();
    let size = ["X-containerd.mkfs.size=2MiB", "X-containerd.mkfs.fs=ext4"];
    let folder = "{{ mount 1 }}/made";
    let made = format!("X-containerd.mkdir.path={folder}:0755");
    vec![
        mount("mkfs/loop", file, &size),
        mount("format/ext4", "{{ mount 0 }}".to_owned(), &["rw"]),
        mount("format/mkdir/bind", folder.to_owned(), &[&made, "rbind", "rw"]),
    ]
}

fn record(id: &str, label: &str) -> Sandbox {
    let runtime = Runtime { name: "io.containerd.runc.v2".into(), options: None };
    Sandbox {
        sandbox_id: id.to_owned(),
        runtime: Some(runtime),
        labels: labels(&[("is", label)]),
        sandboxer: SANDBOXER.to_owned(),
        ..Default::default()
    }
}
