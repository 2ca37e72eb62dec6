//! What of the configuration counts at once when it is read again.
//!
//! Shims that run stay as they were started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_config::Config;
use tokio::sync::watch;

use crate::shims::{Launcher, Settings};

/// The keys that [`Live::apply`] puts into force. Shims log more when this process does.
pub const APPLIES: &[&str] = &[
    "log.level",
    "metrics.containers",
    "runtime.restart_interval",
    "runtime.shim_dir",
    "runtime.shim_env",
    "runtime.shim_start_timeout",
    "runtime.timeouts",
];

/// What is in force. Clones are the same.
#[derive(Clone, Debug)]
pub struct Live {
    launcher: Launcher,
    restart_interval: watch::Sender<Duration>,
    measured: Measured,
}

/// Whether it is told what containers use. Clones are the same.
#[derive(Clone, Debug)]
pub struct Measured(Arc<AtomicBool>);

impl Measured {
    pub(crate) fn new(yes: bool) -> Self {
        Self(Arc::new(AtomicBool::new(yes)))
    }

    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Live {
    /// What a process has started with.
    #[must_use]
    pub fn new(launcher: Launcher, config: &Config) -> Self {
        let restart_interval = watch::Sender::new(config.runtime.restart_interval.0);
        let measured = Measured::new(config.metrics.containers);
        Self { launcher, restart_interval, measured }
    }

    /// How often the restart monitor looks.
    #[must_use]
    pub fn restart_interval(&self) -> watch::Receiver<Duration> {
        self.restart_interval.subscribe()
    }

    /// Whether it is told what containers use.
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.measured.clone()
    }

    /// Puts the keys of [`APPLIES`] into force.
    pub fn apply(&self, config: &Config) {
        self.launcher.set(Settings::of(config));
        self.measured.0.store(config.metrics.containers, Ordering::Relaxed);
        let interval = config.runtime.restart_interval.0;
        self.restart_interval.send_if_modified(|now| std::mem::replace(now, interval) != interval);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(keys: &str) -> Config {
        Config::parse(keys, Path::new("test.toml")).unwrap()
    }

    #[test]
    fn shims_are_told_what_is_in_force_but_stay_of_this_node() {
        let first = config("address = \"/run/one.sock\"");
        let launcher = Launcher::new(Settings::of(&first));
        let live = Live::new(launcher.clone(), &first);
        let mut interval = live.restart_interval();
        let measured = live.measured();
        assert!(measured.get());
        let keys = "address = \"/run/other.sock\"\n[metrics]\ncontainers = false\n[log]\nlevel = \"debug\"\n[runtime]\n\
            shim_dir = \"/shims\"\nshim_env = [\"A=1\"]\nshim_start_timeout = \"7s\"\n\
            restart_interval = \"1h\"\n[runtime.timeouts]\ntask_state = \"9s\"";
        live.apply(&config(keys));
        let now = launcher.settings();
        assert!(!measured.get());
        assert_eq!(now.folder.as_deref(), Some(Path::new("/shims")));
        assert_eq!((&*now.env, now.debug), (&["A=1".to_owned()][..], true));
        assert_eq!(now.start_deadline, Duration::from_secs(7));
        assert_eq!(now.timeouts.state, Duration::from_secs(9));
        assert_eq!(now.address, Path::new("/run/one.sock"));
        assert!(interval.has_changed().unwrap());
        assert_eq!(*interval.borrow_and_update(), Duration::from_secs(3600));
        live.apply(&config(keys));
        assert!(!interval.has_changed().unwrap());
    }
}
