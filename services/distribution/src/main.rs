//! The process: configuration, telemetry, serving, draining.

use std::sync::Arc;
use std::time::Duration;

use berth_lifecycle::{Tasks, notify_ready, shutdown_signal};
use clap::Parser;

/// Calls under way when the process is asked to stop may take this long to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Keeps blobs, images, namespaces and leases of a node.
#[derive(Parser)]
#[command(name = "berth-distribution", version)]
struct Command {
    #[command(flatten)]
    args: berth_config::Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Arc::new(Command::parse().args.load()?);
    let telemetry = berth_telemetry::init("berth-distribution", &config.log, &config.telemetry)?;
    let tasks = Tasks::new();
    let store = berth_distribution::serve(config, &tasks).await?;
    notify_ready()?;
    let reason = shutdown_signal().await?;
    tracing::info!(reason, "draining");
    let aborted = tasks.drain(DRAIN).await;
    if !aborted.is_empty() {
        tracing::warn!(?aborted, "calls that did not end were given up");
    }
    store.close().await;
    telemetry.finish().await.map_err(anyhow::Error::msg)?;
    Ok(())
}
