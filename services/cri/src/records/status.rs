//! How containers of pods began and ended, in this service's store: what runtime does not keep, or not for so long.

use berth_store::{Store, Table};
use serde::{Deserialize, Serialize};

use crate::Result;

/// By the container's number.
pub const STATUSES: Table<String, Status> = Table::new("containers.statuses");

/// How a container began and ended. Times are nanoseconds since 1970; 0: not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Status {
    /// When it was made.
    pub created_at: i64,
    /// When its process began.
    pub started_at: i64,
    /// When that ended.
    pub finished_at: i64,
    /// The number that it ended with.
    pub exit_code: i32,
    /// Why it ended, in one word; empty: as its number says.
    pub reason: String,
    /// The same for people.
    pub message: String,
}

/// The statuses of containers. Clones are the same.
#[derive(Clone, Debug)]
pub struct Statuses(Store);

impl Statuses {
    /// Those of this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// That of a container, if there is one.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub fn get(&self, id: &str) -> Result<Option<Status>> {
        Ok(self.0.read(|txn| txn.get(&STATUSES, id))?)
    }

    /// Keeps one. It is durable when this returns.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub async fn put(&self, id: &str, status: Status) -> Result<()> {
        let id = id.to_owned();
        Ok(self.0.commit("statuses.put", move |txn| txn.put(&STATUSES, &*id, &status)).await?)
    }

    /// Drops one, if it is there.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub async fn delete(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        Ok(self
            .0
            .commit("statuses.delete", move |txn| txn.delete(&STATUSES, &*id))
            .await
            .map(drop)?)
    }

    /// The numbers of all containers that have one.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub fn ids(&self) -> Result<Vec<String>> {
        self.0.read(|txn| {
            let mut ids = Vec::new();
            for record in txn.range(&STATUSES, ())? {
                ids.push(record?.0);
            }
            Ok(ids)
        })
    }
}
