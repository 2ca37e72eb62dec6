//! The process: configuration, telemetry, serving, draining.

use std::time::Duration;

use anyhow::Context;
use berth_cri::Served;
use berth_lifecycle::root::without_supervisor;
use berth_lifecycle::{Tasks, notify_ready, shutdown_signal};
use berth_telemetry::Reload;
use clap::Parser;

const SERVICE: &str = "berth-cri";
/// What of the configuration is read here.
const READS: &[&str] = &["root", "state", "cri"];
/// How long calls that are under way have to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves kubelets by the other services of the node.
#[derive(Debug, Parser)]
#[command(name = "berth-cri", version)]
struct Cli {
    #[command(flatten)]
    args: berth_config::Args,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let told = shutdown_signal()?;
    let args = Cli::parse().args;
    let loaded = args.load_all()?;
    let config = loaded.config.clone();
    let telemetry = berth_telemetry::init(SERVICE, &config.log, &config.telemetry)?;
    if !config.cri.enabled {
        // Its unit is part of every node. It has started, and that was all: nothing failed.
        tracing::info!("there is nothing to do: [cri] is not enabled");
        notify_ready()?;
        telemetry.close().await;
        return Ok(());
    }
    let _root = without_supervisor(&config.root, &config.state).await?;
    let tasks = Tasks::new();
    let Served { store } = berth_cri::serve(&config, &tasks).await.context("start cri")?;
    Reload::new(args, loaded, telemetry.live(), READS).attend(SERVICE, &tasks);
    notify_ready()?;
    let reason = told.await?;
    tracing::info!(reason, "draining");
    let late = tasks.drain(DRAIN).await;
    if !late.is_empty() {
        tracing::warn!(tasks = late.join(", "), "did not end in time");
    }
    store.close().await;
    telemetry.close().await;
    Ok(())
}
