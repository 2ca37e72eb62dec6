//! Whether commits are kept, for whoever asks whether the process can do its work.

use std::sync::{Arc, PoisonError};

use berth_errors::chain;

use super::{Shared, Store};
use crate::Error;
use crate::txn::Write;

/// Has it told with the checks of the process, which has one store. One that nobody has any more is
/// closed.
pub(super) fn register(store: &Store) {
    let closed = store.closed();
    let store = Arc::downgrade(&store.0);
    berth_lifecycle::check("store", move || {
        let (store, closed) = (store.upgrade().map(Store), closed.clone());
        async move {
            match store {
                Some(store) => store.writable().await,
                None => Err(closed),
            }
        }
    });
}

impl Store {
    /// Whether commits are kept. It costs nothing while they are. After one that could not be written
    /// what the store says of itself is written again, so that a disk that has room again is found out
    /// also where nobody else commits.
    ///
    /// # Errors
    /// Why nothing can be written, in words.
    pub async fn writable(&self) -> Result<(), String> {
        if self.0.queue().is_none() {
            return Err(self.closed());
        }
        if self.0.shared.failure().is_none() {
            return Ok(());
        }
        let tried: Result<(), Error> = self.commit("try to write", Write::again).await;
        tried.map_err(|error| match error {
            Error::Closed => self.closed(),
            error => {
                let path = self.0.shared.location.path.display();
                let why = self.0.shared.failure().unwrap_or_else(|| chain(&error).to_string());
                format!(
                    "store {path} cannot be written, free its disk or look at the disk's health: {why}"
                )
            }
        })
    }

    fn closed(&self) -> String {
        format!("store {} is closed", self.0.shared.location.path.display())
    }
}

impl Shared {
    /// Why the last group that had something to write could not, if so.
    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_failure(&self, why: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}
