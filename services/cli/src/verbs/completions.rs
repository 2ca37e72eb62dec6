//! `berth completions`

use anyhow::Result;
use clap::Command;
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
pub fn run(args: &Args, command: &Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut offered(command), "berth", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}

/// The command line without the verbs that are not for people.
fn offered(whole: &Command) -> Command {
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new("berth").args(whole.get_arguments().cloned()).subcommands(verbs)
}
