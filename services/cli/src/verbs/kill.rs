//! `berth kill`

use anyhow::Result;

use crate::client::Client;
use crate::global::Global;
use crate::{container, parse, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The signal, by name or number.
    #[arg(short, long, value_parser = parse::signal, default_value = "KILL")]
    signal: u32,
    /// Send it to all processes of the container.
    #[arg(short, long)]
    all: bool,
    /// The containers.
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.containers, async |name| {
        let record = container::get(&client, name).await?;
        container::running(&client, &record.id).await?;
        container::kill(&client, &record.id, args.signal, args.all).await?;
        verbs::done(global, &record.id)
    })
    .await
}
