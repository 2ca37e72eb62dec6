//! `berth cri runp`

use std::path::PathBuf;

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::cri::read;
use crate::global::Global;
use crate::verbs;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The handler that runs it, instead of the usual one.
    #[arg(short, long, value_name = "HANDLER")]
    runtime: Option<String>,
    /// The pod's configuration, a JSON file; `-` is standard input.
    #[arg(value_name = "POD.json")]
    pod: PathBuf,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let config = read::file(&args.pod)?;
    let client = Client::connect(global).await?;
    let id = make(&client, config, args.runtime).await?;
    verbs::done(global, &id)
}

/// Makes a pod; answers its number.
pub async fn make(
    client: &Client,
    config: wire::PodSandboxConfig,
    handler: Option<String>,
) -> Result<String> {
    let name = config.metadata.clone().unwrap_or_default().name;
    let runtime_handler = handler.unwrap_or_default();
    let request = wire::RunPodSandboxRequest { config: Some(config), runtime_handler };
    let answer = client.cri().run_pod_sandbox(client.request(request)).await;
    Ok(answer.step(|| format!("make pod {name:?}"))?.into_inner().pod_sandbox_id)
}
