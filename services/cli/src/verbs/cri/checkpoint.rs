//! `berth cri checkpoint`, `checkpointp` and `restorep`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::cri::{self, read};
use crate::global::Global;
use crate::verbs;

/// What can be typed to save a container.
#[derive(Debug, clap::Args)]
pub struct Container {
    /// How long it may take, in seconds, instead of the runtime's own limit.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..))]
    timeout: Option<i64>,
    /// The container, by its number or the first digits.
    container: String,
    /// The archive to write.
    file: PathBuf,
}

/// What can be typed to save a pod.
#[derive(Debug, clap::Args)]
pub struct Pod {
    /// The pod, by its number or the first digits.
    pod: String,
    /// A folder that is there, for its files.
    folder: PathBuf,
    /// Containers, by their numbers or the first digits; none: all that run.
    containers: Vec<String>,
}

/// What can be typed to make a pod again.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The handler that runs it, instead of the usual one.
    #[arg(short, long, value_name = "HANDLER")]
    runtime: Option<String>,
    /// The folder that a pod was saved to.
    folder: PathBuf,
    /// The pod's configuration, a JSON file.
    #[arg(value_name = "POD.json")]
    pod: PathBuf,
    /// The configuration of each container, JSON files.
    #[arg(value_name = "CONTAINER.json")]
    containers: Vec<PathBuf>,
}

/// Saves a container.
pub async fn container(args: Container, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let (id, location) = (args.container, whole(&args.file)?);
    let request = wire::CheckpointContainerRequest {
        container_id: id.clone(),
        location: location.clone(),
        timeout: args.timeout.unwrap_or_default(),
    };
    let answer = client.cri().checkpoint_container(client.request(request)).await;
    answer.step(|| format!("save container {id} to {location}"))?;
    verbs::done(global, &location)
}

/// Saves a pod.
pub async fn pod(args: Pod, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let (pod, _) = cri::pod(&client, &args.pod, false).await?;
    let output_path = whole(&args.folder)?;
    let container_ids = match args.containers.is_empty() {
        true => running(&client, &pod.id).await?,
        false => args.containers,
    };
    let request = wire::CheckpointPodRequest {
        pod_sandbox_id: pod.id.clone(),
        output_path: output_path.clone(),
        container_ids,
        ..Default::default()
    };
    let answer = client.cri().checkpoint_pod(client.request(request)).await;
    answer.step(|| format!("save pod {} to {output_path}", pod.id))?;
    verbs::done(global, &output_path)
}

/// Makes a pod again.
pub async fn restore(args: Restore, global: &Global) -> Result<()> {
    let config = read::file(&args.pod)?;
    let container_configs =
        args.containers.iter().map(|path| read::file(path)).collect::<Result<Vec<_>>>()?;
    let client = Client::connect(global).await?;
    let checkpoint_path = whole(&args.folder)?;
    let request = wire::RestorePodRequest {
        checkpoint_path: checkpoint_path.clone(),
        config: Some(config),
        runtime_handler: args.runtime.unwrap_or_default(),
        container_configs,
        ..Default::default()
    };
    let answer = client.cri().restore_pod(client.request(request)).await;
    let restored = answer.step(|| format!("make a pod of {checkpoint_path}"))?.into_inner();
    verbs::done(global, &restored.pod_sandbox_id)?;
    restored.restored_containers.iter().try_for_each(|one| verbs::done(global, &one.container_id))
}

/// The containers of a pod that run.
async fn running(client: &Client, pod: &str) -> Result<Vec<String>> {
    let state = wire::ContainerState::ContainerRunning.into();
    let filter = wire::ContainerFilter {
        pod_sandbox_id: pod.to_owned(),
        state: Some(wire::ContainerStateValue { state }),
        ..Default::default()
    };
    let request = wire::ListContainersRequest { filter: Some(filter) };
    let answer = client.cri().list_containers(client.request(request)).await;
    let found = answer.step(|| format!("list containers of pod {pod}"))?.into_inner().containers;
    ensure!(!found.is_empty(), "save pod {pod}: no container of it runs");
    Ok(found.into_iter().map(|container| container.id).collect())
}

/// A path as the service finds it, which has another working folder.
fn whole(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    Ok(whole.to_string_lossy().into_owned())
}
