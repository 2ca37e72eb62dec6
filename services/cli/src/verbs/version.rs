//! `berth version`

use anyhow::Result;
use serde_json::json;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Does it.
pub async fn run(_args: Args, global: &Global) -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let client = Client::connect(global).await?;
    let answer = client.version().version(client.request(())).await;
    let node = answer.step(|| "ask for the node's version".to_owned())?.into_inner();
    if global.json {
        return output::json(&json!({
            "client": own,
            "server": { "version": node.version, "revision": node.revision },
        }));
    }
    output::line(format!("client {own}"))?;
    output::line(format!("server {} {}", node.version, node.revision).trim_end())
}
