//! `berthd`: configuration, logging, and the supervisor until it is told to end.

use anyhow::Context;
use clap::Parser;

/// Starts berth's services on this machine, restarts what dies, and stops them in order.
#[derive(Parser)]
#[command(name = "berthd", version)]
struct Cli {
    #[command(flatten)]
    args: berth_config::Args,
}

fn main() -> anyhow::Result<()> {
    let Cli { args } = Cli::parse();
    let config = args.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    runtime.block_on(async {
        let guard = berth_telemetry::init("berthd", &config.log, &config.telemetry)?;
        let outcome = berth_supervisor::run(&args, &config).await;
        if let Err(error) = guard.finish().await {
            tracing::warn!(error, "the last spans were not sent");
        }
        Ok(outcome?)
    })
}
