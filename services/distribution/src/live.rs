//! What of the configuration counts at once when it is read again.
//!
//! A transfer goes on as it began; the next one is made with what is in force then. So is the turn
//! of the next collection.

use std::sync::Arc;

use berth_config::Config;
use tokio::sync::watch;

use crate::gc::collect::Collector;
use crate::transfer::Transfers;

/// The tables that [`Live::apply`] puts into force.
pub const APPLIES: &[&str] =
    &["distribution.registry", "distribution.image_verifiers", "distribution.gc"];

/// What is in force. Clones are the same.
#[derive(Clone)]
pub struct Live(Arc<Parts>);

struct Parts {
    config: watch::Sender<Arc<Config>>,
    transfers: watch::Sender<Transfers>,
    collector: Collector,
}

impl Live {
    /// What a process has started with.
    #[must_use]
    pub fn new(config: Arc<Config>, transfers: Transfers, collector: Collector) -> Self {
        let (config, transfers) = (watch::Sender::new(config), watch::Sender::new(transfers));
        Self(Arc::new(Parts { config, transfers, collector }))
    }

    /// The configuration as it was read last.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.0.config.borrow().clone()
    }

    /// What a transfer that begins now is made with.
    #[must_use]
    pub fn transfers(&self) -> Transfers {
        self.0.transfers.borrow().clone()
    }

    /// Puts the tables of [`APPLIES`] into force.
    pub fn apply(&self, config: &Config) {
        let (new, mut now) = (&config.distribution, Config::clone(&self.config()));
        let old = &mut now.distribution;
        // Tokens and connections of registries are kept as long as nothing of it has changed.
        if (&new.registry, &new.image_verifiers) != (&old.registry, &old.image_verifiers) {
            self.0.transfers.send_modify(|transfers| *transfers = transfers.configured(new));
        }
        if new.gc != old.gc {
            self.0.collector.set_pace(&new.gc);
        }
        old.registry.clone_from(&new.registry);
        old.image_verifiers.clone_from(&new.image_verifiers);
        old.gc.clone_from(&new.gc);
        self.0.config.send_replace(Arc::new(now));
    }
}
