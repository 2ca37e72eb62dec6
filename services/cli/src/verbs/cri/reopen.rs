//! `berth cri reopen`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::verbs;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The container, by its number or the first digits.
    container: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let id = args.container;
    let request = wire::ReopenContainerLogRequest { container_id: id.clone() };
    let answer = client.cri().reopen_container_log(client.request(request)).await;
    answer.step(|| format!("have the log of container {id} made anew"))?;
    verbs::done(global, &id)
}
