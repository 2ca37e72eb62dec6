//! Reading the configuration again while a process runs, when it gets SIGHUP.
//!
//! Owns: what is said of a change, and applying the levels of the log. What else can change while
//! running its owner applies. A configuration that cannot be is told and changes nothing; nothing of
//! this ends the process.

use berth_config::{Args, Config, Loaded};
use berth_errors::chain;
use berth_lifecycle::{Tasks, describe_on_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::Levels;

/// What a process does with changes.
pub struct Reload {
    args: Args,
    /// What the process started with: what needs a restart is held against this.
    started: Loaded,
    /// What was read last.
    in_force: Loaded,
    levels: Levels,
    reads: &'static [&'static str],
    applies: &'static [&'static str],
    apply: Box<dyn FnMut(&Config) + Send>,
}

impl Reload {
    /// Of a process that was started with `args`, has `loaded` in force, and reads these tables of it;
    /// others are somebody else's.
    #[must_use]
    pub fn new(args: Args, loaded: Loaded, levels: Levels, reads: &'static [&'static str]) -> Self {
        let (started, in_force) = (loaded.clone(), loaded);
        Self { args, started, in_force, levels, reads, applies: &[], apply: Box::new(|_| ()) }
    }

    /// `apply` puts a configuration into force, as far as these tables and keys are concerned.
    #[must_use]
    pub fn applying(
        mut self,
        applies: &'static [&'static str],
        apply: impl FnMut(&Config) + Send + 'static,
    ) -> Self {
        (self.applies, self.apply) = (applies, Box::new(apply));
        self
    }

    /// Does what an operator tells the process of this name by signals: SIGHUP to read its
    /// configuration again, SIGUSR1 to write down its tasks. Listens from now on.
    pub fn attend(self, service: &'static str, tasks: &Tasks) {
        tasks.spawn_endless("describe", describe_on_signal(service, tasks.clone()));
        tasks.spawn_endless("reload", self.run());
    }

    /// Reads it again at each SIGHUP. Listens from now on; what it returns never does.
    fn run(mut self) -> impl Future<Output = ()> + Send {
        let hangups = signal(SignalKind::hangup());
        async move {
            let mut hangups = match hangups {
                Ok(hangups) => hangups,
                Err(error) => {
                    tracing::error!(%error, "the configuration is not read again: listen for SIGHUP");
                    return std::future::pending().await;
                }
            };
            while hangups.recv().await.is_some() {
                self.once();
            }
        }
    }

    fn once(&mut self) {
        let _told = berth_lifecycle::reloading();
        let newer = match self.args.load_all() {
            Ok(newer) => newer,
            Err(error) => {
                tracing::error!(error = chain(&error), "the configuration in force stays");
                return;
            }
        };
        for remark in &newer.remarks {
            tracing::debug!("{remark}");
        }
        let mut changes = self.changes(&newer);
        if changes.levels
            && let Err(error) = self.levels.set(&newer.config.log.level)
        {
            tracing::error!(error = chain(&error), "the levels in force stay");
            changes.levels = false;
        }
        (self.apply)(&newer.config);
        if !changes.waiting.is_empty() {
            tracing::warn!(
                keys = changes.waiting.join(", "),
                "changed, and counts after a restart"
            );
        }
        let levels = changes.levels.then(|| LEVEL.to_owned());
        let applied: Vec<_> = levels.into_iter().chain(changes.applied).collect();
        tracing::info!(applied = applied.join(", "), "read the configuration again");
        self.in_force = newer;
    }

    /// What is to be put into force: what is another than was before. And what waits: what is another than
    /// at the start.
    fn changes(&self, newer: &Loaded) -> Changes {
        let below = |key: &String, tables: &[&str]| {
            tables.iter().any(|table| {
                key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let (changed, waiting) = (self.in_force.differs(newer), self.started.differs(newer));
        let now = |key: &String| below(key, self.applies) || below(key, &[LEVEL]);
        Changes {
            levels: changed.iter().any(|key| below(key, &[LEVEL])),
            applied: changed.into_iter().filter(|key| below(key, self.applies)).collect(),
            waiting: waiting
                .into_iter()
                .filter(|key| below(key, self.reads) && !now(key))
                .collect(),
        }
    }
}

/// The key of the levels of the log.
const LEVEL: &str = "log.level";

/// Keys that have changed.
struct Changes {
    levels: bool,
    applied: Vec<String>,
    waiting: Vec<String>,
}
