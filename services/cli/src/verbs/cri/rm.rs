//! `berth cri rm`

use std::time::Duration;

use anyhow::{Result, bail};
use berth_proto::runtime::v1 as wire;

use super::stop;
use crate::client::{Client, Step};
use crate::global::Global;
use crate::{cri, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill those that run first.
    #[arg(short, long)]
    force: bool,
    /// The containers, by their numbers or the first digits of these.
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.containers, async |id| {
        // The runtime finds nothing wrong with one that is not there.
        let (container, _) = cri::container(&client, id, false).await?;
        let id = &container.id;
        if container.state() == wire::ContainerState::ContainerRunning {
            if !args.force {
                bail!("container {id} is running, use `berth cri stop` first or give -f");
            }
            stop::stop(&client, id, Duration::ZERO).await?;
        }
        let request = wire::RemoveContainerRequest { container_id: id.clone() };
        let answer = client.cri().remove_container(client.request(request)).await;
        answer.step(|| format!("remove container {id}"))?;
        verbs::done(global, id)
    })
    .await
}
