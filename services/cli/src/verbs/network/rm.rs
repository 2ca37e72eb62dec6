//! `berth network rm`

use anyhow::Result;
use berth_proto::berth::node::v1::RemoveNetworkRequest;
use serde_json::json;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{output, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The networks.
    #[arg(required = true)]
    networks: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.networks, async |name| {
        let request = client.request(RemoveNetworkRequest { name: name.to_owned() });
        let answer = client.networks().remove(request).await;
        answer.step(|| format!("remove network {name}"))?;
        output::told(global.json, name, &json!({ "name": name }))
    })
    .await
}
