//! What of the configuration counts at once when it is read again.
//!
//! A layer that is being extracted goes on as it began; how many are at once follows as they end.

use std::sync::{Arc, PoisonError, RwLock};

use berth_config::Config;
use berth_lifecycle::Turns;

use crate::layer::Limits;

/// The keys that [`Live::apply`] puts into force.
pub const APPLIES: &[&str] =
    &["bundle.max_concurrent_unpacks", "bundle.max_layer_size", "bundle.max_layer_entries"];

/// Fewer layers at once would let a pull's downloads wait for extraction.
const LEAST_UNPACKS: usize = 4;

/// What is in force. Clones are the same.
#[derive(Clone, Debug)]
pub struct Live {
    turns: Turns,
    limits: Arc<RwLock<Limits>>,
}

impl Live {
    /// What a process has started with.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { turns: Turns::new(at_once(config)), limits: Arc::new(RwLock::new(limits(config))) }
    }

    /// How many layers are extracted or made at once.
    #[must_use]
    pub fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// What a layer may ask for that is begun now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts the keys of [`APPLIES`] into force.
    pub fn apply(&self, config: &Config) {
        self.turns.set(at_once(config));
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits(config);
    }
}

fn at_once(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match config.bundle.max_concurrent_unpacks {
        0 => cores.max(LEAST_UNPACKS),
        configured => configured,
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        bytes: config.bundle.max_layer_size.bytes(),
        entries: config.bundle.max_layer_entries,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(keys: &str) -> Config {
        Config::parse(&format!("[bundle]\n{keys}"), Path::new("test.toml")).unwrap()
    }

    #[test]
    fn what_is_in_force_follows_the_configuration() {
        let live = Live::new(&config("max_concurrent_unpacks = 2\nmax_layer_entries = 7"));
        let (turns, shared) = (live.turns(), live.clone());
        assert_eq!((turns.free(), live.limits().entries), (Some(2), 7));
        assert_eq!(live.limits().bytes, 512 << 30);
        live.apply(&config("max_concurrent_unpacks = 5\nmax_layer_size = \"1MiB\""));
        assert_eq!((turns.free(), shared.limits().bytes), (Some(5), 1 << 20));
        assert_eq!(shared.limits().entries, Limits::default().entries);
        live.apply(&config("max_concurrent_unpacks = 0"));
        assert!(turns.free() >= Some(LEAST_UNPACKS), "{turns:?}");
    }
}
