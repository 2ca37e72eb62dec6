//! Entry point of `berth-gateway`.

use anyhow::Context as _;
use berth_config::Args;
use berth_gateway::live::{Bounds, Live, Observed, OverTcp};
use berth_gateway::{ending, required};
use berth_lifecycle::root::without_supervisor;
use berth_lifecycle::{Tasks, node_starts, notify_ready, shutdown_signal};
use berth_telemetry::Reload;
use clap::Parser;

const SERVICE: &str = "berth-gateway";
/// What of the configuration is read here.
const READS: &[&str] = &[
    "root",
    "state",
    "address",
    "gateway",
    "metrics.address",
    "disabled_plugins",
    "cluster.etcd.endpoints",
    "cri.enabled",
];

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
    let told = shutdown_signal()?;
    let args = Cli::parse().args;
    let loaded = args.load_all()?;
    let config = loaded.config.clone();
    let telemetry = berth_telemetry::init(SERVICE, &config.log, &config.telemetry)?;
    let root = without_supervisor(&config.root, &config.state).await?;
    if root.is_some() {
        berth_telemetry::remark(&loaded);
    }
    let tasks = Tasks::new();
    tokio::pin!(told);
    let early = match node_starts() {
        true => tokio::select! {
            reason = &mut told => Some(reason?),
            checked = required::check(&config, &tasks) => {
                checked.context("start the gateway")?;
                None
            }
        },
        // What was there when the node started is no reason to keep clients from the rest now.
        false => None,
    };
    let (reason, upstream) = if let Some(reason) = early {
        (reason, Tasks::new())
    } else {
        let live = berth_gateway::serve(&config, &tasks).context("start the gateway")?;
        let Live { bounds, mut observed, mut over_tcp, upstream } = live;
        Reload::new(args, loaded, telemetry.live(), READS)
            .applying(Bounds::APPLIES, move |config| bounds.apply(config))
            .trying(Observed::APPLIES, move |config| observed.at(&config.metrics.address))
            .trying(OverTcp::APPLIES, move |config| over_tcp.at(config.gateway.tcp.as_ref()))
            .attend(SERVICE, &tasks);
        notify_ready()?;
        (told.await?, upstream)
    };
    tracing::info!(reason, "stopping");
    let cut = ending::end(&tasks, &upstream, *config.gateway.drain).await;
    if !cut.is_empty() {
        tracing::info!(tasks = ?cut, "ended what did not end by itself");
    }
    telemetry.close().await;
    Ok(())
}
