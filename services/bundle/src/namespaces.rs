//! Which namespaces are about to be deleted: nothing new is made in them.
//!
//! Owns: the fences, in memory. A fence that a restart loses is put up again by distribution,
//! which counts once more before it deletes. Must not know: the list of namespaces.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Error;

/// The namespaces with a fence around them. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Fences(Arc<Mutex<HashSet<String>>>);

impl Fences {
    /// Puts a fence up or takes it down.
    pub fn set(&self, namespace: &str, up: bool) {
        let mut fenced = self.lock();
        if up {
            fenced.insert(namespace.to_owned());
        } else {
            fenced.remove(namespace);
        }
    }

    /// Refuses what would make something new in a fenced namespace. Asked inside commits.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn check(&self, namespace: &str) -> Result<(), Error> {
        if !self.lock().contains(namespace) {
            return Ok(());
        }
        let reason = "it is being deleted, try again afterwards";
        Err(Error::State { what: "namespace", name: namespace.to_owned(), reason })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
