//! The process: configuration, telemetry, serving, draining.

use std::sync::Arc;
use std::time::Duration;

use berth_distribution::Served;
use berth_distribution::live::APPLIES;
use berth_lifecycle::root::without_supervisor;
use berth_lifecycle::{Tasks, notify_ready, shutdown_signal};
use berth_telemetry::Reload;
use clap::Parser;

const SERVICE: &str = "berth-distribution";
/// What of the configuration is read here.
const READS: &[&str] = &["root", "state", "distribution", "disabled_plugins"];
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
    let told = shutdown_signal()?;
    let args = Command::parse().args;
    let loaded = args.load_all()?;
    let config = Arc::new(loaded.config.clone());
    let telemetry = berth_telemetry::init(SERVICE, &config.log, &config.telemetry)?;
    let _root = without_supervisor(&config.root, &config.state).await?;
    let tasks = Tasks::new();
    let Served { store, live } = berth_distribution::serve(config, &tasks).await?;
    Reload::new(args, loaded, telemetry.live(), READS)
        .applying(APPLIES, move |config| live.apply(config))
        .attend(SERVICE, &tasks);
    notify_ready()?;
    let reason = told.await?;
    tracing::info!(reason, "draining");
    let aborted = tasks.drain(DRAIN).await;
    if !aborted.is_empty() {
        tracing::warn!(?aborted, "calls that did not end were given up");
    }
    store.close().await;
    telemetry.close().await;
    Ok(())
}
