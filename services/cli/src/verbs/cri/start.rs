//! `berth cri start`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::verbs;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The containers, by their numbers or the first digits of these.
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.containers, async |id| {
        start(&client, id).await?;
        verbs::done(global, id)
    })
    .await
}

/// Starts a container.
pub async fn start(client: &Client, id: &str) -> Result<()> {
    let request = wire::StartContainerRequest { container_id: id.to_owned() };
    let answer = client.cri().start_container(client.request(request)).await;
    answer.step(|| format!("start container {id}")).map(drop)
}
