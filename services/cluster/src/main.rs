//! The process: configuration, telemetry, serving, draining.

use std::time::Duration;

use anyhow::Context;
use berth_lifecycle::root::without_supervisor;
use berth_lifecycle::{Tasks, notify_ready, shutdown_signal};
use berth_telemetry::Reload;
use clap::Parser;

const SERVICE: &str = "berth-cluster";
/// What of the configuration is read here.
const READS: &[&str] = &["root", "state", "cluster"];
/// Calls and writes under way when the process is asked to stop may take this long to end. The registration is
/// left to run out.
const DRAIN: Duration = Duration::from_secs(5);

/// Shows this node to its cluster, and the cluster to this node's clients.
#[derive(Debug, Parser)]
#[command(name = "berth-cluster", version)]
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
    if !config.cluster_is_on() {
        // Its unit is part of every node. It has started, and that was all: nothing failed.
        tracing::info!("there is nothing to do: [cluster.etcd] has no endpoints");
        notify_ready()?;
        telemetry.close().await;
        return Ok(());
    }
    let _root = without_supervisor(&config.root, &config.state).await?;
    let tasks = Tasks::new();
    let served = berth_cluster::serve(&config, &tasks).context("start cluster")?;
    Reload::new(args, loaded, telemetry.live(), READS).attend(SERVICE, &tasks);
    notify_ready()?;
    let reason = told.await?;
    tracing::info!(reason, "draining");
    let late = tasks.drain(DRAIN).await;
    drop(served);
    if !late.is_empty() {
        tracing::warn!(tasks = late.join(", "), "did not end in time");
    }
    telemetry.close().await;
    Ok(())
}
