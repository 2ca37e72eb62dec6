//! berth-runtime: see the library.

use std::time::Duration;

use berth_runtime::Served;
use berth_runtime::live::APPLIES;
use berth_telemetry::Reload;
use clap::Parser;

/// Keeps containers and runs their tasks.
#[derive(Debug, Parser)]
#[command(name = "berth-runtime", version)]
struct Cli {
    #[command(flatten)]
    args: berth_config::Args,
}

const SERVICE: &str = "berth-runtime";
/// What of the configuration is read here.
const READS: &[&str] =
    &["root", "state", "address", "runtime", "network", "metrics.containers", "disabled_plugins"];
/// How long calls that are under way may take once the process is told to end.
const DRAIN: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let told = berth_lifecycle::shutdown_signal()?;
    let args = Cli::parse().args;
    let loaded = args.load_all()?;
    let config = loaded.config.clone();
    let telemetry = berth_telemetry::init(SERVICE, &config.log, &config.telemetry)?;
    let _root = berth_lifecycle::root::without_supervisor(&config.root, &config.state).await?;
    let jobs = berth_lifecycle::Tasks::new();
    let Served { store, live } = berth_runtime::serve(&config, &jobs).await?;
    Reload::new(args, loaded, telemetry.live(), READS)
        .applying(APPLIES, move |config| live.apply(config))
        .attend(SERVICE, &jobs);
    berth_lifecycle::notify_ready()?;
    let signal = told.await?;
    tracing::info!(signal, "stopping, containers run on");
    let aborted = jobs.drain(DRAIN).await;
    if !aborted.is_empty() {
        tracing::warn!(?aborted, "cut off what did not end in time");
    }
    store.close().await;
    telemetry.close().await;
    Ok(())
}
