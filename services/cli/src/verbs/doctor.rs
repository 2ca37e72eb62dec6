//! `berth doctor`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::doctor::{self, Line, Verdict};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file of the node [default: /etc/berth/berth.toml if it exists].
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's root, if it is another than the file says.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The node's state, if it is another than the file says.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// As for a daemon that is started by the name containerd.
    #[arg(long)]
    as_containerd: bool,
}

/// Does it: 0 unless something fails.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let Args { config, root, state, as_containerd } = args;
    let overrides = berth_config::Overrides { root, state, ..Default::default() };
    let asked = berth_config::Args { config, as_containerd, overrides };
    let mut lines = Vec::new();
    let config = match asked.load() {
        Ok(config) => config,
        Err(error) => {
            lines.push(doctor::unreadable(&error));
            let overrides = asked.overrides.clone();
            berth_config::Args { config: Some("/dev/null".into()), as_containerd, overrides }
                .load()?
        }
    };
    lines.extend(doctor::look(&config).await);
    if global.json {
        output::json(&lines)?;
    } else {
        lines.iter().map(told).try_for_each(output::line)?;
    }
    let fails = lines.iter().any(|line| line.verdict == Verdict::Fail);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn told(line: &Line) -> String {
    let Line { verdict, what, found, next } = line;
    let next = if next.is_empty() { String::new() } else { format!("; {next}") };
    format!("{:<4}  {what}: {found}{next}", verdict.name())
}
