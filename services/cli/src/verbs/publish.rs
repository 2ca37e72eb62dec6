//! `berth publish`, hidden: how shims publish events with a program.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use berth_proto::containerd::services::events::ttrpc::v1::ForwardRequest as TtrpcForward;
use berth_proto::containerd::services::events::v1::ForwardRequest;
use berth_proto::containerd::types::Envelope;
use prost::Message;
use prost_types::Any;
use tokio::io::AsyncReadExt;

use crate::client::{Client, Step};
use crate::global::Global;

/// The most that an event may have.
const MAX_EVENT: u64 = 4 << 20;
/// The variable that tells a shim, and the programs that it runs, where its events go.
const SHIMS: &str = "TTRPC_ADDRESS";
/// How long telling one may take on that way.
const DEADLINE: Duration = Duration::from_secs(10);

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
    let namespace = global.namespace().to_owned();
    let timestamp = Some(SystemTime::now().into());
    let envelope = Envelope { timestamp, namespace, topic: args.topic.clone(), event: Some(event) };
    let step = || format!("publish an event to {}", args.topic);
    match std::env::var_os(SHIMS) {
        Some(socket) => as_shim(Path::new(&socket), envelope).await.with_context(step),
        None => {
            let client = Client::connect(global).await?;
            let request = client.request(ForwardRequest { envelope: Some(envelope) });
            client.events().forward(request).await.step(step).map(drop)
        }
    }
}

/// On the way that shims have for themselves: what is told there of a task is believed.
async fn as_shim(socket: &Path, envelope: Envelope) -> Result<()> {
    let client = berth_ttrpc::Client::connect(socket, DEADLINE).await?;
    let request = TtrpcForward { envelope: Some(envelope) };
    let service = "containerd.services.events.ttrpc.v1.Events";
    Ok(client.call::<()>(service, "Forward", &request, DEADLINE).await?)
}
