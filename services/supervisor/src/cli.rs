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
    let mut matches = command(as_containerd).get_matches();
    if let Some(line) = asked_for_help(as_containerd, &matches) {
        // It is printed, and that was all.
        matches = command(as_containerd).get_matches_from(line);
    }
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.args.as_containerd |= as_containerd;
    cli
}

/// What can be typed, with the defaults that count under this name.
fn command(as_containerd: bool) -> clap::Command {
    // clap's own has no other name.
    let help = clap::Command::new("help")
        .visible_alias("h")
        .about("Print this, or the help of a command")
        .arg(clap::Arg::new("command").help("The command"));
    let command = Cli::command().disable_help_subcommand(true).subcommand(help);
    if !as_containerd {
        return command;
    }
    let told = [
        ("config", "Configuration file [default: /etc/containerd/config.toml if it exists]"),
        ("root", "Folder of what survives a reboot [default: /var/lib/containerd]"),
        ("state", "Folder of what does not [default: /run/containerd]"),
        ("address", "Socket of clients [default: /run/containerd/containerd.sock]"),
    ];
    told.into_iter().fold(command.name("containerd"), |command, (name, help)| {
        command.mut_arg(name, |argument| argument.help(help))
    })
}

/// The line that prints what `help` was asked for.
fn asked_for_help(as_containerd: bool, matches: &clap::ArgMatches) -> Option<Vec<String>> {
    let ("help", asked) = matches.subcommand()? else { return None };
    let of = asked.get_one::<String>("command").cloned();
    let name = if as_containerd { "containerd" } else { "berthd" };
    let line = [name.to_owned()].into_iter().chain(of);
    Some(line.chain(["--help".to_owned()]).collect())
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
    fn help_tells_the_defaults_of_the_name_it_goes_by() {
        for (as_containerd, here, elsewhere) in
            [(true, "containerd", "berth"), (false, "berth", "containerd")]
        {
            let help = command(as_containerd).render_help().to_string();
            let file = |name: &str| match name {
                "berth" => "/etc/berth/berth.toml",
                _ => "/etc/containerd/config.toml",
            };
            for part in [
                format!("[default: {} if it exists]", file(here)),
                format!("[default: /var/lib/{here}]"),
                format!("[default: /run/{here}]"),
            ] {
                assert!(help.contains(&part), "{part} is not in {help}");
            }
            assert!(!help.contains(&format!("/var/lib/{elsewhere}]")), "{help}");
            for (line, expected) in [
                ("containerd h", Some("--help")),
                ("containerd help config", Some("config --help")),
                ("containerd config default", None),
            ] {
                let matches = command(as_containerd).try_get_matches_from(line.split(' '));
                let asked = asked_for_help(as_containerd, &matches.expect(line));
                let name = if as_containerd { "containerd" } else { "berthd" };
                let expected = expected.map(|rest| format!("{name} {rest}"));
                assert_eq!(asked.map(|line| line.join(" ")), expected, "{line}");
                let printed = expected.as_ref().map(|line| {
                    let told = command(as_containerd).try_get_matches_from(line.split(' '));
                    told.expect_err("it is printed").kind()
                });
                let kind = expected.map(|_| clap::error::ErrorKind::DisplayHelp);
                assert_eq!(printed, kind, "{line}");
            }
        }
    }

    #[test]
    fn options_are_containerds() {
        for version in ["-v", "--version"] {
            let told = command(true).try_get_matches_from(["containerd", version]);
            let told = told.expect_err("it is printed").to_string();
            assert!(told.starts_with("containerd berth v"), "{told}");
        }
        let line = "containerd -l debug --state /s -c /f -a /a --root /r";
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        let berth_config::Args { config, overrides, .. } = cli.args;
        assert_eq!(overrides.log_level.as_deref(), Some("debug"));
        let paths = [config, overrides.state, overrides.address, overrides.root];
        let paths = paths.map(|path| path.map(|path| path.display().to_string()));
        assert_eq!(paths, ["/f", "/s", "/a", "/r"].map(|path| Some(path.to_owned())));
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
