//! Reading the configuration again while a process runs, when it gets SIGHUP.
//!
//! Owns: what is said of a change, and applying the levels of the log. What else can change while
//! running its owner applies. A configuration that cannot be is told and changes nothing; nothing of
//! this ends the process.

use berth_config::{Args, Config, Loaded};
use berth_errors::chain;
use tokio::signal::unix::{SignalKind, signal};

use crate::Levels;

/// What a process does with changes.
pub struct Reload<A> {
    /// How it was started.
    pub args: Args,
    /// What is in force.
    pub loaded: Loaded,
    /// Its log.
    pub levels: Levels,
    /// Tables that it reads; others are somebody else's.
    pub reads: &'static [&'static str],
    /// Those that `apply` puts into force.
    pub applies: &'static [&'static str],
    /// Puts a configuration into force.
    pub apply: A,
}

impl<A: FnMut(&Config) + Send> Reload<A> {
    /// Reads it again at each SIGHUP. Listens from now on; what it returns never does.
    pub fn run(mut self) -> impl Future<Output = ()> + Send {
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
        let changed = self.loaded.differs(&newer);
        let below = |key: &str, tables: &[&str]| {
            tables.iter().any(|table| {
                key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let of = |tables: &'static [&'static str]| {
            changed.iter().filter(move |key| below(key, tables)).cloned().collect::<Vec<_>>()
        };
        let (levels, applied, read) = (of(&["log.level"]), of(self.applies), of(self.reads));
        if !levels.is_empty()
            && let Err(error) = self.levels.set(&newer.config.log.level)
        {
            tracing::error!(error = chain(&error), "the levels in force stay");
        }
        (self.apply)(&newer.config);
        let waiting: Vec<_> = read.into_iter().filter(|key| !applied.contains(key)).collect();
        let applied: Vec<_> = levels.into_iter().chain(applied).collect();
        if !waiting.is_empty() {
            tracing::warn!(keys = waiting.join(", "), "changed, and counts after a restart");
        }
        tracing::info!(applied = applied.join(", "), "read the configuration again");
        if waiting.is_empty() {
            self.loaded = newer;
        }
    }
}
