//! `berth stop`

use std::time::Duration;

use anyhow::Result;
use berth_proto::containerd::services::containers::v1::Container;

use crate::client::Client;
use crate::container::{self, KILL, STOP_SIGNAL_LABEL};
use crate::global::Global;
use crate::{parse, verbs};

/// SIGTERM.
const TERM: u32 = 15;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long the program has before it is killed, such as 10 or 1m30s.
    #[arg(short, long, value_parser = parse::seconds, default_value = "10")]
    time: Duration,
    /// The containers.
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.containers, async |name| {
        let record = container::get(&client, name).await?;
        let task = container::task(&client, &record.id).await?;
        if task.is_some_and(|task| container::is_alive(&task)) {
            end(&client, &record, args.time).await?;
        }
        container::forget_task(&client, &record).await?;
        verbs::done(global, &record.id)
    })
    .await
}

/// Asks the program to end, and ends it when its time is over.
async fn end(client: &Client, record: &Container, time: Duration) -> Result<()> {
    let own = record.labels.get(STOP_SIGNAL_LABEL).and_then(|signal| signal.parse().ok());
    let asked = container::kill(client, &record.id, own.unwrap_or(TERM), false);
    let waiting = container::wait(client, &record.id);
    // A program that ended just before has nothing to be asked.
    if let Err(error) = asked.await {
        let gone = crate::client::answered(&error, tonic::Code::NotFound);
        return if gone { Ok(()) } else { Err(error) };
    }
    match tokio::time::timeout(time, waiting).await {
        Ok(ended) => ended.map(|_| ()),
        Err(_) => {
            container::kill(client, &record.id, KILL, true).await?;
            container::wait(client, &record.id).await.map(|_| ())
        }
    }
}
