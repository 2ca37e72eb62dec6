//! `berthd publish`: this process becomes `berth publish`, which speaks to the node.

use anyhow::Context;
use berth_config::Args;
use berth_lifecycle::child;

/// Does not return if it can be done.
pub(crate) fn publish(args: &Args, namespace: &str, topic: &str) -> anyhow::Result<()> {
    let config = args.load()?;
    let own = std::env::current_exe().context("find the folder of berthd's own program")?;
    let program = own.with_file_name("berth");
    let mut command = child::command(&program);
    command.stdin(std::process::Stdio::inherit()).arg("--address").arg(&config.address);
    command.args(["--namespace", namespace, "publish", "--topic", topic]);
    let error = child::become_it(command);
    Err(error).with_context(|| format!("start {}", program.display()))
}
