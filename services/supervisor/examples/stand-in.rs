//! Stands in for every service in the supervisor's tests: it keeps the same contract (arguments,
//! ready pipe, lifeline) through the same library, and writes down what happens to it.
//!
//! The name under which it is started says which service it is. In the folder of `--state`:
//! `NAME.refuse` makes it exit before it serves, `NAME.deaf` makes it ignore SIGTERM.

use std::io::Write;

use anyhow::Context;
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: berth_config::Args,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Cli::parse().args.load()?;
    let program = std::env::args().next().context("a program has a name")?;
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let flagged = |flag: &str| config.state.join(format!("{name}.{flag}")).exists();
    let note = |text: String| -> anyhow::Result<()> {
        let path = config.state.join("notes");
        let mut notes = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(notes.write_all(format!("{name} {text}\n").as_bytes())?)
    };
    if flagged("refuse") {
        anyhow::bail!("{name} refuses");
    }
    let told = berth_lifecycle::shutdown_signal()?;
    tokio::pin!(told);
    let mut open: Vec<_> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| target.file_name()?.to_str().map(str::to_owned))
        .filter(|target| target.ends_with(".lock"))
        .collect();
    open.sort();
    let first = if berth_lifecycle::node_starts() { "first" } else { "again" };
    note(format!("started {} {first} {}", std::process::id(), open.join(",")))?;
    berth_lifecycle::notify_ready()?;
    let mut reason = told.await?;
    if flagged("deaf") && reason == "SIGTERM" {
        note("ignored SIGTERM".into())?;
        std::future::pending::<()>().await;
        reason = "never";
    }
    note(format!("ended {reason}"))
}
