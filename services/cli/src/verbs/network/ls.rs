//! `berth network ls`

use anyhow::Result;
use berth_proto::berth::node::v1::Network;

use super::{as_json, list};
use crate::client::Client;
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print names only.
    #[arg(short, long)]
    quiet: bool,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let networks = list(&client).await?;
    if args.quiet {
        let names: Vec<_> = networks.iter().map(|network| network.name.as_str()).collect();
        return output::names(global.json, &names);
    }
    if global.json {
        return output::json(&networks.iter().map(as_json).collect::<Vec<_>>());
    }
    let rows: Vec<_> = networks.iter().map(as_row).collect();
    output::table(["NAME", "SUBNETS", "PLUGINS", "PODS", "FILE"], &rows)
}

fn as_row(network: &Network) -> [String; 5] {
    let some = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        network.name.clone(),
        some(network.subnets.join(", ")),
        some(network.plugins.join(", ")),
        if network.pods { "yes" } else { "-" }.to_owned(),
        network.file.clone(),
    ]
}
