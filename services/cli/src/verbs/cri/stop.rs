//! `berth cri stop`

use std::time::Duration;

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{cri, parse, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long the program has before it is killed, such as 10 or 1m30s; 0: it is killed at once.
    #[arg(short, long, value_parser = parse::seconds, default_value = "0")]
    timeout: Duration,
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
        stop(&client, &container.id, args.timeout).await?;
        verbs::done(global, &container.id)
    })
    .await
}

/// Stops a container.
pub async fn stop(client: &Client, id: &str, time: Duration) -> Result<()> {
    let timeout = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let request = wire::StopContainerRequest { container_id: id.to_owned(), timeout };
    let answer = client.cri().stop_container(client.lasting(request, time)).await;
    answer.step(|| format!("stop container {id}")).map(drop)
}
