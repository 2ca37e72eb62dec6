//! `berth gc`

use std::collections::BTreeMap;

use anyhow::Result;
use berth_proto::berth::node::v1::CollectRequest;
use serde_json::json;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Does it.
pub async fn run(_args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let answer = client.collection().collect(client.patient(CollectRequest {})).await;
    let done = answer.step(|| "collect garbage".to_owned())?.into_inner();
    let dropped: BTreeMap<_, _> = done.dropped.into_iter().collect();
    if global.json {
        return output::json(&json!({
            "dropped": dropped,
            "bytes_freed": done.bytes_freed,
            "elapsed_ms": done.elapsed_ms,
        }));
    }
    for (kind, count) in &dropped {
        output::line(format!("{kind}: {count}"))?;
    }
    output::line(format!("freed {} in {} ms", output::size(done.bytes_freed), done.elapsed_ms))
}
