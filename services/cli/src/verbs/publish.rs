//! `berth publish`, hidden: how shims publish events with a program.

use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use berth_proto::containerd::services::events::v1::ForwardRequest;
use berth_proto::containerd::types::Envelope;
use prost::Message;
use prost_types::Any;
use tokio::io::AsyncReadExt;

use crate::client::{Client, Step};
use crate::global::Global;

/// The most that an event may have.
const MAX_EVENT: u64 = 4 << 20;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The event's topic.
    #[arg(long)]
    topic: String,
}

/// Does it: standard input has a `google.protobuf.Any`.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let mut bytes = Vec::new();
    let read = tokio::io::stdin().take(MAX_EVENT + 1).read_to_end(&mut bytes).await;
    if read.context("read the event")? as u64 > MAX_EVENT {
        bail!("the event is larger than {MAX_EVENT} bytes");
    }
    let event = Any::decode(bytes.as_slice()).context("read the event")?;
    let client = Client::connect(global).await?;
    let envelope = Envelope {
        timestamp: Some(SystemTime::now().into()),
        namespace: client.namespace().to_owned(),
        topic: args.topic.clone(),
        event: Some(event),
    };
    let request = client.request(ForwardRequest { envelope: Some(envelope) });
    let answer = client.events().forward(request).await;
    answer.step(|| format!("publish an event to {}", args.topic)).map(|_| ())
}
