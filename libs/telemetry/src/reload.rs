//! Reading the configuration again while a process runs, when it gets SIGHUP.
//!
//! Owns: what is said of a change, and applying the levels of the log and where spans go. What else can
//! change while running its owner applies. A configuration that cannot be is told and changes nothing;
//! a value that cannot be put into force is told, leaves the earlier one there, and is tried again with the
//! next reading. Nothing of this ends the process.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;

use berth_config::{Args, Config, Loaded};
use berth_errors::chain;
use berth_lifecycle::{Tasks, describe_on_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::Live;

/// What a process does with changes.
pub struct Reload {
    args: Args,
    /// What the process started with: what needs a restart is held against this.
    started: Loaded,
    /// What was read last.
    in_force: Loaded,
    /// Keys whose value of then could not be put into force.
    refused: BTreeSet<String>,
    reads: &'static [&'static str],
    parts: Vec<Part>,
    each_time: Box<dyn FnMut() + Send>,
}

/// What puts some keys into force.
struct Part {
    keys: &'static [&'static str],
    apply: Apply,
}

/// Answers why it is not possible.
type Apply = Box<dyn FnMut(&Config) -> Result<(), String> + Send>;

impl Reload {
    /// Of a process that was started with `args`, has `loaded` in force, and reads these tables of it;
    /// others are somebody else's.
    #[must_use]
    pub fn new(args: Args, loaded: Loaded, live: Live, reads: &'static [&'static str]) -> Self {
        let (started, in_force) = (loaded.clone(), loaded);
        let (refused, each_time) = (BTreeSet::new(), Box::new(|| ()));
        let new = Self { args, started, in_force, refused, reads, parts: Vec::new(), each_time };
        let spans = live.clone();
        new.trying(&["log.level"], move |config| live.set_level(&config.log.level))
            .trying(&["telemetry"], move |config| spans.set_spans(&config.telemetry))
    }

    /// `apply` puts a configuration into force, as far as these tables and keys are concerned. It is
    /// called when one of them has changed.
    #[must_use]
    pub fn applying(
        self,
        keys: &'static [&'static str],
        mut apply: impl FnMut(&Config) + Send + 'static,
    ) -> Self {
        self.trying(keys, move |config| {
            apply(config);
            Ok::<(), Infallible>(())
        })
    }

    /// The same of what may not be possible; then `apply` leaves in force what was.
    #[must_use]
    pub fn trying<E: Error + 'static>(
        mut self,
        keys: &'static [&'static str],
        mut apply: impl FnMut(&Config) -> Result<(), E> + Send + 'static,
    ) -> Self {
        let apply = move |config: &Config| apply(config).map_err(|error| chain(&error));
        self.parts.push(Part { keys, apply: Box::new(apply) });
        self
    }

    /// Called each time that a configuration was read which can be, whatever has changed.
    #[must_use]
    pub fn each_time(mut self, tell: impl FnMut() + Send + 'static) -> Self {
        self.each_time = Box::new(tell);
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
        let newer = match self.args.load_again(&self.started) {
            Ok(newer) => newer,
            Err(error) => {
                tracing::error!(error = chain(&error), "the configuration in force stays");
                return;
            }
        };
        for remark in &newer.remarks {
            tracing::debug!("{remark}");
        }
        let applied = self.apply(&newer);
        (self.each_time)();
        let waiting = self.waiting(&newer);
        if !waiting.is_empty() {
            tracing::warn!(keys = waiting.join(", "), "changed, and counts after a restart");
        }
        tracing::info!(applied = applied.join(", "), "read the configuration again");
        self.in_force = newer;
    }

    /// Puts into force what is another than was before; answers the keys of which that was possible.
    fn apply(&mut self, newer: &Loaded) -> Vec<String> {
        let mut changed: BTreeSet<String> = self.in_force.differs(newer).into_iter().collect();
        changed.append(&mut self.refused);
        let mut applied = BTreeSet::new();
        for Part { keys, apply } in &mut self.parts {
            let of: Vec<_> = changed.iter().filter(|key| below(key, keys)).cloned().collect();
            if of.is_empty() {
                continue;
            }
            match apply(&newer.config) {
                Ok(()) => applied.extend(of),
                Err(error) => {
                    tracing::error!(error, keys = of.join(", "), "what is in force of these stays");
                    self.refused.extend(of);
                }
            }
        }
        applied.into_iter().filter(|key| !self.refused.contains(key)).collect()
    }

    /// What is another than at the start and counts after the next one. How lines look is read by every
    /// process.
    fn waiting(&self, newer: &Loaded) -> Vec<String> {
        let read = |key: &String| below(key, self.reads) || below(key, &["log"]);
        let now = |key: &String| self.parts.iter().any(|part| below(key, part.keys));
        let changed = self.started.differs(newer).into_iter();
        changed.filter(|key| read(key) && !now(key)).collect()
    }
}

/// Whether a key is one of these, or in one of these tables.
fn below(key: &str, tables: &[&str]) -> bool {
    tables.iter().any(|table| {
        key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
