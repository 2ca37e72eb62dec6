//! `berth network inspect`

use anyhow::{Context, Result};
use serde_json::Value;

use super::{as_json, list};
use crate::client::Client;
use crate::global::Global;
use crate::network::{self, shown};
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The networks.
    #[arg(required = true)]
    networks: Vec<String>,
}

/// Does it; the answer is always JSON.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let all = list(&client).await?;
    let mut found = Vec::new();
    for name in &args.networks {
        let network = all.iter().find(|network| network.name == *name);
        let network = network
            .with_context(|| format!("network {name:?}: not found, see `berth network ls`"))?;
        let attached = network::on(&client, name).await?;
        let mut value = as_json(network);
        value["config"] = serde_json::from_str(&network.config).unwrap_or(Value::Null);
        value["attached"] = attached.iter().map(shown::as_json).collect();
        found.push(value);
    }
    output::json(&found)
}
