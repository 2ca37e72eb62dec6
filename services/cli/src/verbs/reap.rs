//! `berth reap`, hidden: what `run -d --rm` leaves behind.

use anyhow::Result;

use crate::client::Client;
use crate::container;
use crate::global::Global;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The container.
    container: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let record = container::get(&client, &args.container).await?;
    container::wait(&client, &record.id).await?;
    container::remove(&client, &record, true).await
}
