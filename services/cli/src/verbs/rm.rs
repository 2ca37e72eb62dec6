//! `berth rm`

use anyhow::Result;

use crate::client::Client;
use crate::global::Global;
use crate::{container, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill what is running.
    #[arg(short, long)]
    force: bool,
    /// The containers.
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.containers, async |name| {
        let record = container::get_to_remove(&client, name, args.force).await?;
        container::remove(&client, &record, args.force).await?;
        verbs::done(global, &record.id)
    })
    .await
}
