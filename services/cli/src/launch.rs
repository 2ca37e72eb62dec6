//! From an image to a container, and from a container to a running task.

use anyhow::{Context, Result, bail};
use berth_proto::containerd::services::containers::v1::{
    Container, CreateContainerRequest, GetContainerRequest, container::Runtime,
};
use berth_proto::containerd::services::images::v1::Image;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::snapshots::v1::{
    PrepareSnapshotRequest, RemoveSnapshotRequest,
};
use berth_proto::containerd::services::tasks::v1::{CreateTaskRequest, StartRequest};
use berth_proto::containerd::types::Mount;
use berth_runtime_spec::{Options, SPEC_TYPE_URL, build};
use prost_types::Any;
use tonic::Code;

use crate::client::{Client, Step};
use crate::container::{LOG_LABEL, RUNTIME, STOP_SIGNAL_LABEL};
use crate::image::{self, Resolved};
use crate::lease::hold;
use crate::manifest::Platform;
use crate::network::{self, Connection};
use crate::options::{Args, Pull};
use crate::progress::Show;
use crate::root::look;
use crate::transfer::{self, RegistryFlags, Wanted};
use crate::{container, logs, reference, unpack};

/// Creates a container as typed; what was pulled and prepared for it is held meanwhile.
pub async fn create(client: &Client, args: &Args) -> Result<Container> {
    let mut options = args.options(client.namespace())?;
    options.id = args.name.clone().unwrap_or_else(random_name);
    berth_ids::validate_identifier(&options.id).context("read the flag --name")?;
    refuse_taken(client, &options.id).await?;
    let lease = hold(client).await?;
    let outcome = create_held(&client.under(&lease), args, options).await;
    let delete = leases::DeleteRequest { id: lease.clone(), ..Default::default() };
    let released = client.leases().delete(client.request(delete)).await;
    let container = outcome?;
    released.step(|| format!("release lease {lease}"))?;
    Ok(container)
}

async fn create_held(client: &Client, args: &Args, mut options: Options) -> Result<Container> {
    let snapshotter = unpack::snapshotter(client, args.snapshotter.as_deref()).await?;
    let platform = match &args.platform {
        Some(text) => Platform::parse(text)?,
        None => Platform::host(),
    };
    let image = provide(client, args, &platform, &snapshotter).await?;
    let resolved = image::resolve(client, &image, &platform).await?;
    let parent = unpack::ensure(client, &resolved, &snapshotter).await?;
    if options.hostname.is_none() {
        // The kernel takes 64 bytes.
        options.hostname = Some(options.id.chars().take(63).collect());
    }
    let (key, mounts) = prepare(client, &options.id, &snapshotter, parent).await?;
    let snapshot = Snapshot { snapshotter, key, mounts };
    let recorded = connect_and_record(client, args, options, &resolved, &snapshot).await;
    if recorded.is_err() {
        let Snapshot { snapshotter, key, .. } = snapshot;
        let remove = RemoveSnapshotRequest { snapshotter, key };
        // The failure itself is what is told; without a lease the collector takes the snapshot.
        let _ = client.snapshots().remove(client.request(remove)).await;
    }
    recorded
}

/// The network is there before the record, whose spec names it.
async fn connect_and_record(
    client: &Client,
    args: &Args,
    mut options: Options,
    image: &Resolved,
    snapshot: &Snapshot,
) -> Result<Container> {
    let connection = network::connect(client, args.network.mode()?, &mut options).await?;
    let recorded = record(client, args, &options, image, snapshot, &connection).await;
    if recorded.is_err() {
        network::undo(client, &connection, &options.id).await;
    }
    recorded
}

/// A container's root file system.
struct Snapshot {
    snapshotter: String,
    key: String,
    mounts: Vec<Mount>,
}

/// Prepares a root file system; answers its key, which is the container's name. A command that was cut
/// off may have left one of that name, or another is at it: then the key is another.
async fn prepare(
    client: &Client,
    id: &str,
    snapshotter: &str,
    parent: String,
) -> Result<(String, Vec<Mount>)> {
    let doing = || format!("prepare a root file system for container {id}");
    let ask = async |key: &str| {
        let (snapshotter, key) = (snapshotter.to_owned(), key.to_owned());
        let parent = parent.clone();
        let request = PrepareSnapshotRequest { snapshotter, key, parent, ..Default::default() };
        client.snapshots().prepare(client.request(request)).await
    };
    let (mut key, mut answer) = (id.to_owned(), ask(id).await);
    if matches!(&answer, Err(status) if status.code() == Code::AlreadyExists) {
        key = format!("{id}-{}", random_name());
        answer = ask(&key).await;
    }
    Ok((key, answer.step(doing)?.into_inner().mounts))
}

/// The runtime that was asked for, or else the namespace's default, or else ours.
async fn runtime(client: &Client, args: &Args) -> Result<String> {
    if let Some(asked) = &args.runtime {
        return Ok(asked.clone());
    }
    Ok(client.default_of("runtime").await?.unwrap_or_else(|| RUNTIME.to_owned()))
}

/// Writes the container's record.
async fn record(
    client: &Client,
    args: &Args,
    options: &Options,
    image: &Resolved,
    snapshot: &Snapshot,
    network: &Connection,
) -> Result<Container> {
    let doing = || format!("create container {}", options.id);
    let spec = look(client, &snapshot.mounts, |root| Ok(build(&image.run, options, root)?)).await;
    let spec = spec.with_context(doing)?;
    let value = serde_json::to_vec(&spec).with_context(doing)?;
    let mut labels: std::collections::HashMap<_, _> = args.labels.iter().cloned().collect();
    if let Some(signal) = args.stop_signal(&image.run.stop_signal)? {
        labels.insert(STOP_SIGNAL_LABEL.to_owned(), signal.to_string());
    }
    let log = match &args.log_path {
        Some(path) => std::path::absolute(path).with_context(doing)?,
        None => logs::path(client, &options.id),
    };
    labels.insert(LOG_LABEL.to_owned(), log.to_string_lossy().into_owned());
    labels.extend(network.labels.clone());
    let record = Container {
        id: options.id.clone(),
        labels,
        extensions: network.extensions.clone(),
        image: image.name.clone(),
        runtime: Some(Runtime { name: runtime(client, args).await?, options: None }),
        spec: Some(Any { type_url: SPEC_TYPE_URL.to_owned(), value }),
        snapshotter: snapshot.snapshotter.clone(),
        snapshot_key: snapshot.key.clone(),
        ..Default::default()
    };
    let request = client.request(CreateContainerRequest { container: Some(record) });
    let answer = client.containers().create(request).await.step(doing)?;
    answer.into_inner().container.with_context(|| format!("{}: no record came back", doing()))
}

/// The image to run, pulled if it has to be.
async fn provide(
    client: &Client,
    args: &Args,
    platform: &Platform,
    snapshotter: &str,
) -> Result<Image> {
    if args.pull != Pull::Always {
        match image::find(client, &args.image).await? {
            Some(image) => return Ok(image),
            None if args.pull == Pull::Never => return image::get(client, &args.image).await,
            None => {}
        }
    }
    let name = reference::normalise(&args.image)?;
    let flags = RegistryFlags { plain_http: args.plain_http, ..Default::default() };
    let wanted = Wanted {
        platforms: vec![platform.into()],
        unpack: Some(snapshotter.to_owned()),
        labels: Vec::new(),
    };
    transfer::pull(client, &name, &flags, &wanted, Show::new(false)).await?;
    image::get(client, &name).await
}

async fn refuse_taken(client: &Client, id: &str) -> Result<()> {
    let request = client.request(GetContainerRequest { id: id.to_owned() });
    let found = client.containers().get(request).await.optional();
    if found.step(|| format!("look for container {id}"))?.is_some() {
        bail!(
            "container {id:?}: already exists, remove it with `berth rm {id}` or take another --name"
        );
    }
    Ok(())
}

fn random_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

/// What a task's standard streams are connected to; empty is nothing.
#[derive(Clone, Debug, Default)]
pub struct Stdio {
    /// Input.
    pub stdin: String,
    /// Output.
    pub stdout: String,
    /// Errors; empty on a terminal.
    pub stderr: String,
    /// Whether the program has a terminal.
    pub terminal: bool,
}

impl Stdio {
    /// Output to the container's log.
    pub fn logged(container: &Container, terminal: bool, max_size: u64, max_files: u32) -> Self {
        let path = container.labels.get(LOG_LABEL).map(String::as_str).unwrap_or_default();
        if path.is_empty() {
            return Self { terminal, ..Default::default() };
        }
        let address = logs::address(path.as_ref(), max_size, max_files);
        let stderr = if terminal { String::new() } else { address.clone() };
        Self { stdin: String::new(), stdout: address, stderr, terminal }
    }

    /// The pipes of a program in the foreground.
    pub fn piped(pipes: &crate::attach::Pipes) -> Self {
        Self {
            stdin: pipes.path("stdin"),
            stdout: pipes.path("stdout"),
            stderr: pipes.path("stderr"),
            terminal: pipes.terminal,
        }
    }
}

/// Makes the container's task; its program waits to be started.
pub async fn create_task(client: &Client, container: &Container, stdio: Stdio) -> Result<u32> {
    let request = CreateTaskRequest {
        container_id: container.id.clone(),
        rootfs: container::mounts(client, container).await?,
        stdin: stdio.stdin,
        stdout: stdio.stdout,
        stderr: stdio.stderr,
        terminal: stdio.terminal,
        ..Default::default()
    };
    let answer = client.tasks().create(client.request(request)).await;
    let answer = answer.step(|| format!("create the task of container {}", container.id))?;
    Ok(answer.into_inner().pid)
}

/// Lets a task's or exec's program go.
pub async fn start(client: &Client, id: &str, exec: &str) -> Result<u32> {
    let request = StartRequest { container_id: id.to_owned(), exec_id: exec.to_owned() };
    let answer = client.tasks().start(client.request(request)).await;
    Ok(answer.step(|| format!("start the program of container {id}"))?.into_inner().pid)
}
