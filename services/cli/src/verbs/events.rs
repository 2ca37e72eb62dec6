//! `berth events`

use anyhow::Result;
use berth_proto::containerd::services::events::v1::SubscribeRequest;
use serde_json::json;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{events, output};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only what one of these filters matches, such as 'topic~=/tasks/'.
    filters: Vec<String>,
    /// End after so many events.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let request = client.patient(SubscribeRequest { filters: args.filters });
    let answer = client.events().subscribe(request).await;
    let mut stream = answer.step(|| "subscribe to events".to_owned())?.into_inner();
    let mut left = args.count;
    while left != Some(0) {
        let Some(event) = stream.message().await.step(|| "read events".to_owned())? else { break };
        let at = output::moment(event.timestamp.as_ref());
        let fields = event.event.as_ref().map(events::fields).unwrap_or_default();
        if global.json {
            output::json_line(&json!({ "timestamp": at, "namespace": event.namespace,
                "topic": event.topic, "event": fields }))?;
        } else {
            output::line(format!("{at} {} {} {fields}", event.namespace, event.topic))?;
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}
