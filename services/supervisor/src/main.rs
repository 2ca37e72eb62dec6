//! `berthd`: the command line, configuration, logging, and the supervisor until it is told to end.

mod cli;
mod commands;

use anyhow::Context;

use cli::{Cli, Command};

fn main() -> anyhow::Result<()> {
    let Cli { args, command, .. } = cli::read();
    match command {
        None => daemon(&args),
        Some(Command::Config { what }) => commands::config::print(&args, what),
        Some(Command::Publish { namespace, topic }) => {
            commands::publish::publish(&args, &namespace, &topic)
        }
        Some(Command::OciHook { line }) => commands::hook::run(&line),
    }
}

fn daemon(args: &berth_config::Args) -> anyhow::Result<()> {
    let loaded = args.load_all()?;
    let config = loaded.config.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    runtime.block_on(async {
        let guard = berth_telemetry::init("berthd", &config.log, &config.telemetry)?;
        berth_telemetry::remark(&loaded);
        let live = guard.live();
        let outcome = berth_supervisor::run(args, loaded, live).await;
        guard.close().await;
        Ok(outcome?)
    })
}
