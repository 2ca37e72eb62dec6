//! `berth cri create`

use std::path::PathBuf;

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use super::pull::pull;
use crate::client::{Client, Step};
use crate::cri::{self, read};
use crate::global::Global;
use crate::verbs;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Have the image pulled first.
    #[arg(long)]
    with_pull: bool,
    /// The pod, by its number or the first digits.
    pod: String,
    /// The container's configuration, a JSON file; `-` is standard input.
    #[arg(value_name = "CONTAINER.json")]
    container: PathBuf,
    /// The configuration that the pod was made with.
    #[arg(value_name = "POD.json")]
    config: PathBuf,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let (config, pod_config) = (read::file(&args.container)?, read::file(&args.config)?);
    let client = Client::connect(global).await?;
    let (pod, _) = cri::pod(&client, &args.pod, false).await?;
    let id = create(&client, &pod.id, config, pod_config, args.with_pull).await?;
    verbs::done(global, &id)
}

/// Creates a container in a pod; answers its number.
pub async fn create(
    client: &Client,
    pod: &str,
    config: wire::ContainerConfig,
    pod_config: wire::PodSandboxConfig,
    with_pull: bool,
) -> Result<String> {
    let name = config.metadata.clone().unwrap_or_default().name;
    if with_pull {
        let image = config.image.clone().unwrap_or_default().image;
        pull(client, &image, None, Some(pod_config.clone())).await?;
    }
    let request = wire::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config),
        sandbox_config: Some(pod_config),
    };
    let answer = client.cri().create_container(client.request(request)).await;
    Ok(answer.step(|| format!("create container {name:?} in pod {pod}"))?.into_inner().container_id)
}
