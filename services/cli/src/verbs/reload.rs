//! `berth reload`: checks the configuration, and has the node read it again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that berthd was started with [default: /etc/berth/berth.toml if it exists].
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// berthd's root, if it was started with another than the file says.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// As for a daemon that was started by the name containerd.
    #[arg(long)]
    as_containerd: bool,
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<()> {
    let Args { config, root, as_containerd } = args;
    let overrides = berth_config::Overrides { root, ..Default::default() };
    let loaded = berth_config::Args { config, as_containerd, overrides }.load_all()?;
    let lock = loaded.config.root.join("berthd.lock");
    let pid = holder(&lock)?;
    kill_process(pid, Signal::HUP).with_context(|| format!("signal berthd (pid {pid:?})"))?;
    let pid = pid.as_raw_nonzero();
    let text =
        format!("berthd (pid {pid}) reads its configuration again; its log says what changed");
    output::told(global.json, text, &serde_json::json!({ "pid": pid.get() }))
}

/// The process that holds the root. The number alone may be that of another by now.
fn holder(lock: &Path) -> Result<Pid> {
    let written = fs_err::read_to_string(lock).context("no berthd runs on that root")?;
    let number: i32 = written.trim().parse().with_context(|| format!("read {}", lock.display()))?;
    let program = std::fs::read_link(format!("/proc/{number}/exe")).unwrap_or_default();
    // One that was replaced while it runs has more behind its name.
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned());
    match (Pid::from_raw(number), name) {
        (Some(pid), Some(name)) if name.starts_with("berthd") => Ok(pid),
        _ => bail!(
            "no berthd runs on that root: {} names pid {number}, which is none",
            lock.display()
        ),
    }
}
