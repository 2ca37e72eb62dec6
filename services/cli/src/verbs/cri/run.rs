//! `berth cri run`

use std::path::PathBuf;

use anyhow::Result;
use berth_proto::runtime::v1 as wire;
use serde_json::json;

use super::{create, runp, start};
use crate::client::Client;
use crate::cri::read;
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The handler that runs it, instead of the usual one.
    #[arg(short, long, value_name = "HANDLER")]
    runtime: Option<String>,
    /// Have the image pulled first.
    #[arg(long)]
    with_pull: bool,
    /// The container's configuration, a JSON file; `-` is standard input.
    #[arg(value_name = "CONTAINER.json")]
    container: PathBuf,
    /// The pod's configuration, a JSON file.
    #[arg(value_name = "POD.json")]
    pod: PathBuf,
}

/// Does it. A pod whose container fails stays, to be looked at.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let config: wire::ContainerConfig = read::file(&args.container)?;
    let pod_config: wire::PodSandboxConfig = read::file(&args.pod)?;
    let client = Client::connect(global).await?;
    let pod = runp::make(&client, pod_config.clone(), args.runtime).await?;
    let id = create::create(&client, &pod, config, pod_config, args.with_pull).await?;
    start::start(&client, &id).await?;
    output::told(global.json, &id, &json!({ "id": id, "pod": pod }))
}
