//! The command line that every service shares, with containerd's names.

use std::path::PathBuf;

use crate::{Config, Error, Loaded};

/// The arguments of every service: `#[command(flatten)]` them.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file [default: /etc/berth/berth.toml if it exists]
    #[arg(long, short = 'c', value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take containerd's folders, socket and file where nobody says otherwise, as one that is started
    /// by that name does
    #[arg(long, hide = true)]
    pub as_containerd: bool,
    /// What the command line overrides.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// What the command line overrides in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Overrides {
    /// Folder of what survives a reboot [default: /var/lib/berth]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Folder of what does not [default: /run/berth]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Socket of clients [default: STATE/berth.sock]
    #[arg(long, short = 'a', value_name = "SOCKET")]
    pub address: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or targets as in `info,h2=warn`
    #[arg(long, short = 'l', value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Args {
    /// The configuration that these arguments choose.
    ///
    /// # Errors
    /// [`Error`] names the file, the line and the key.
    pub fn load(&self) -> Result<Config, Error> {
        self.load_all().map(|loaded| loaded.config)
    }

    /// The same with what is to be said of it.
    ///
    /// # Errors
    /// [`Error`] names the file, the line and the key.
    pub fn load_all(&self) -> Result<Loaded, Error> {
        Loaded::of(self, None)
    }

    /// The same for a process that was started with `started`.
    ///
    /// # Errors
    /// [`Error`] names the file, the line and the key.
    pub fn load_again(&self, started: &Loaded) -> Result<Loaded, Error> {
        Loaded::of(self, Some(&started.config.disabled_plugins))
    }

    /// The arguments again, for the services that a supervisor starts.
    #[must_use]
    pub fn to_command_line(&self) -> Vec<std::ffi::OsString> {
        let Overrides { root, state, address, log_level } = &self.overrides;
        let paths = [
            ("--config", &self.config),
            ("--root", root),
            ("--state", state),
            ("--address", address),
        ];
        let mut line = Vec::new();
        if self.as_containerd {
            line.push("--as-containerd".into());
        }
        for (flag, path) in paths {
            if let Some(path) = path {
                line.extend([flag.into(), path.clone().into_os_string()]);
            }
        }
        if let Some(level) = log_level {
            line.extend(["--log-level".into(), level.into()]);
        }
        line
    }
}

impl Overrides {
    /// The option that sets what is at `keys`, if one does.
    pub(crate) fn option_of(&self, keys: &[&str]) -> Option<&'static str> {
        match keys {
            ["root"] => self.root.is_some().then_some("--root"),
            ["state"] => self.state.is_some().then_some("--state"),
            ["address"] => self.address.is_some().then_some("--address"),
            ["log", "level"] => self.log_level.is_some().then_some("--log-level"),
            _ => None,
        }
    }

    pub(crate) fn apply(self, config: &mut Config) {
        let Overrides { root, state, address, log_level } = self;
        config.root = root.unwrap_or_else(|| std::mem::take(&mut config.root));
        config.state = state.unwrap_or_else(|| std::mem::take(&mut config.state));
        config.address = address.unwrap_or_else(|| std::mem::take(&mut config.address));
        // An empty one is none, as with containerd.
        let log_level = log_level.filter(|level| !level.is_empty());
        config.log.level = log_level.unwrap_or_else(|| std::mem::take(&mut config.log.level));
    }
}
