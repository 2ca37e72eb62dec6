//! `berth completions`

use anyhow::Result;
use clap_complete::Shell;

use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script for `command`, the whole command line.
pub fn run(args: &Args, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "berth", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}
