//! What can be typed: containerd's own command line.

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Starts berth's services on this machine, restarts what dies, and stops them in order.
#[derive(Debug, Parser)]
#[command(name = "berthd", version = version(), disable_version_flag = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) args: berth_config::Args,
    /// Print the version
    #[arg(long, short = 'v', action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What is done instead of being the daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print configurations
    Config {
        /// Which one
        what: Printed,
    },
    /// Publish an event that is read from standard input, a protobuf Any (for shims)
    Publish {
        /// The namespace of the event
        #[arg(long, default_value = "")]
        namespace: String,
        /// Its topic
        #[arg(long)]
        topic: String,
    },
    /// Run a program as a hook of a container, with what the container is put into its arguments
    OciHook {
        /// The program and its arguments: {{id}}, {{bundle}}, {{rootfs}}, {{pid}}, {{status}} and
        /// {{annotation "KEY"}} are replaced
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        line: Vec<OsString>,
    },
}

/// A configuration to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Printed {
    /// What is in force without a file
    Default,
    /// What is in force with the file and what it imports
    Dump,
    /// A file of containerd's in its newest version, with what it imports
    Migrate,
}

/// What was typed. Started by the name `containerd`, this program goes by it.
pub(crate) fn read() -> Cli {
    let as_containerd = std::env::args_os().next().is_some_and(|name| is_containerd(&name));
    let name = if as_containerd { "containerd" } else { "berthd" };
    let matches = Cli::command().name(name).get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.args.as_containerd |= as_containerd;
    cli
}

fn is_containerd(name: &OsString) -> bool {
    Path::new(name).file_name().is_some_and(|name| name == "containerd")
}

/// `NAME SOURCE VERSION`, as programs that read containerd's look for it.
fn version() -> &'static str {
    concat!("berth v", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_containerds() {
        Cli::command().debug_assert();
        for (line, what) in [
            ("containerd config default", Printed::Default),
            ("containerd -c /f --root /r config dump", Printed::Dump),
            ("berthd --config=/f config migrate", Printed::Migrate),
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert!(
                matches!(cli.command, Some(Command::Config { what: parsed }) if parsed == what)
            );
        }
        let cli =
            Cli::try_parse_from("containerd -a /s publish --topic /t --namespace n".split(' '));
        assert!(matches!(cli.expect("a shim's way").command, Some(Command::Publish { .. })));
        let cli = Cli::try_parse_from("containerd oci-hook -- /bin/x --id {{id}}".split(' '));
        let Some(Command::OciHook { line }) = cli.expect("a hook's way").command else {
            panic!("no hook")
        };
        assert_eq!(line, ["/bin/x", "--id", "{{id}}"]);
    }

    #[test]
    fn only_the_last_part_of_the_name_counts() {
        for (name, expected) in [
            ("containerd", true),
            ("/usr/bin/containerd", true),
            ("/opt/containerd/berthd", false),
            ("containerd2", false),
        ] {
            assert_eq!(is_containerd(&name.into()), expected, "{name}");
        }
    }
}
