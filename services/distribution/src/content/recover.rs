//! What a start does with what an earlier run left.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::ingests::{Card, STALE};
use super::store::{Content, remove_folder};
use crate::error::{Error, Result};
use crate::shared::Shared;

/// Between a removal that failed and the next try.
const LATER: Duration = Duration::from_secs(10);

impl Content {
    /// Takes in the ingests that can be resumed and deletes the others. Before anything is served.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn adopt_ingests(&self) -> Result<()> {
        let adopt = |shared: &Shared| {
            let ingests = shared.files.ingests();
            let entries =
                fs_err::read_dir(&ingests).map_err(Error::io("list ingests in", &ingests))?;
            for entry in entries {
                let folder = entry.map_err(Error::io("list ingests in", &ingests))?.path();
                match read(&folder) {
                    Some((card, offset, updated)) => {
                        shared.ingests.adopt(folder, card, offset, updated);
                    }
                    None => remove_folder(&folder)?,
                }
            }
            Ok(())
        };
        self.0.blocking("adopt ingests", adopt).await
    }

    /// Deletes the files of blobs that no record names: their commits or deletions were cut short.
    /// May run while others write.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub async fn delete_orphans(&self) -> Result<()> {
        let all = match &self.0.there {
            None => self.0.blocking("list blobs", |shared| shared.files.list_blobs()).await?,
            Some(there) => there.list()?,
        };
        for digest in all {
            self.reclaim(&digest).await?;
        }
        Ok(())
    }

    /// Removes from the process of others that keeps blobs, if one does, what no namespace has: as
    /// it comes, and as long as this is polled. What cannot be removed is tried again.
    pub async fn remove_unused(&self) {
        let Some(there) = &self.0.there else { return };
        loop {
            let digest = there.next_unused().await;
            if let Err(error) = self.remove_if_unused(there, &digest).await {
                let error = berth_errors::chain(&error);
                tracing::warn!(%digest, error, "remove blob at content store, it is tried again");
                there.unused(&digest);
                tokio::time::sleep(LATER).await;
            }
        }
    }
}

/// An ingest that can be resumed; `None` when its start was cut short or it is too old.
fn read(folder: &Path) -> Option<(Card, u64, SystemTime)> {
    let card: Card =
        serde_json::from_slice(&fs_err::read(folder.join("ingest.json")).ok()?).ok()?;
    let data = fs_err::metadata(folder.join("data")).ok()?;
    let updated = data.modified().ok()?;
    let age = SystemTime::now().duration_since(updated).unwrap_or_default();
    (card.is_leased() || age < STALE).then_some((card, data.len(), updated))
}
