//! Which containers the restart monitor looks after.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_ids::Namespace;

use super::Containers;
use crate::error::Result;
use crate::records::{Container, RESTART_STATUS};

/// The containers that carry the label. Clones share them.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<BTreeSet<(Namespace, String)>>>);

impl Watched {
    fn set(&self) -> MutexGuard<'_, BTreeSet<(Namespace, String)>> {
        // Each change of the set is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, ns: &Namespace, container: &Container) {
        let key = (ns.clone(), container.id.clone());
        if container.labels.contains_key(RESTART_STATUS) {
            self.set().insert(key);
        } else {
            self.set().remove(&key);
        }
    }
}

impl Containers {
    /// Looks for the containers of earlier runs that carry the label.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub fn find_watched(&self) -> Result<()> {
        self.every(|namespace, container| {
            if container.labels.contains_key(RESTART_STATUS)
                && let Ok(ns) = namespace.parse()
            {
                self.watched.set().insert((ns, container.id));
            }
        })
    }

    /// The containers that carry the label.
    #[must_use]
    pub fn watched(&self) -> Vec<(Namespace, String)> {
        self.watched.set().iter().cloned().collect()
    }

    /// Looks after a container no more.
    pub fn unwatch(&self, ns: &Namespace, id: &str) {
        self.watched.set().remove(&(ns.clone(), id.to_owned()));
    }
}
