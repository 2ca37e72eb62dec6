//! `berth rm`

use anyhow::{Error, Result, bail};

use crate::client::Client;
use crate::global::Global;
use crate::{container, network, verbs};

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
        let id = match container::get_to_remove(&client, name, args.force).await {
            Ok(record) => {
                container::remove(&client, &record, args.force).await?;
                record.id
            }
            Err(error) => {
                remove_rest(&client, name, args.force, error).await?;
                name.to_owned()
            }
        };
        verbs::done(global, &id)
    })
    .await
}

/// A creation that was cut off may have left a network without a container.
async fn remove_rest(client: &Client, name: &str, force: bool, error: Error) -> Result<()> {
    let is_rest = network::is_left(client, name).await?;
    match (is_rest, force) {
        (true, true) => network::detach(client, name).await,
        (true, false) => {
            bail!(
                "of container {name} only its network is left, which goes with `berth rm -f {name}`"
            )
        }
        (false, _) => Err(error),
    }
}
