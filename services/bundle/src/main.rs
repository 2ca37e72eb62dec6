//! berth-bundle: serves snapshots, diffs and layers on its socket until it is told to stop.

use std::time::Duration;

use anyhow::Context;
use berth_bundle::Served;
use berth_bundle::live::APPLIES;
use berth_lifecycle::root::without_supervisor;
use berth_lifecycle::{Tasks, notify_ready, shutdown_signal};
use berth_telemetry::Reload;
use clap::Parser;

const SERVICE: &str = "berth-bundle";
/// What of the configuration is read here.
const READS: &[&str] =
    &["root", "state", "bundle", "stream_processors", "proxy_plugins", "disabled_plugins"];
/// How long calls that are under way have to end.
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(name = "berth-bundle", version, about)]
struct Arguments {
    #[command(flatten)]
    common: berth_config::Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let told = shutdown_signal()?;
    let args = Arguments::parse().common;
    let loaded = args.load_all()?;
    let config = loaded.config.clone();
    let telemetry = berth_telemetry::init(SERVICE, &config.log, &config.telemetry)?;
    let _root = without_supervisor(&config.root, &config.state).await?;
    let tasks = Tasks::new();
    let served = berth_bundle::serve(&config, &tasks).await;
    let Served { store, live } = served.context("start bundle")?;
    Reload::new(args, loaded, telemetry.live(), READS)
        .applying(APPLIES, move |config| live.apply(config))
        .attend(SERVICE, &tasks);
    notify_ready()?;
    let reason = told.await?;
    tracing::info!(reason, "stopping");
    let late = tasks.drain(DRAIN).await;
    if !late.is_empty() {
        tracing::warn!(tasks = late.join(", "), "did not end in time");
    }
    store.close().await;
    telemetry.close().await;
    Ok(())
}
