//! Entry point of `berth-gateway`.

use std::time::Duration;

use anyhow::Context as _;
use berth_config::Args;
use berth_lifecycle::{Tasks, notify_ready, shutdown_signal};
use clap::Parser;

/// Calls under way when the gateway is told to end get this long.
const DRAIN: Duration = Duration::from_secs(3);

/// The socket that clients know: routes calls to the services of the node.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

// One thread: the gateway only moves bytes, and a call would otherwise be handed between threads
// on its way in and out.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Cli::parse().args.load()?;
    let _telemetry = berth_telemetry::init("gateway", &config.log, &config.telemetry)?;
    let tasks = Tasks::new();
    berth_gateway::serve(&config, &tasks).context("start the gateway")?;
    notify_ready()?;
    let reason = shutdown_signal().await?;
    tracing::info!(reason, "stopping");
    let cut = tasks.drain(DRAIN).await;
    if !cut.is_empty() {
        tracing::info!(tasks = ?cut, "ended what did not end by itself");
    }
    Ok(())
}
