//! What an earlier run of the service has left: attachments that nobody waits for any more, and what has no record.
//!
//! Nothing of it delays a start. What is made meanwhile is not touched: its record was there before it.

use std::collections::BTreeSet;

use berth_cni::AttachmentId;
use berth_errors::chain;
use berth_lifecycle::Pauses;
use berth_netns::NetNs;

use super::fault::Fault;
use super::files::Folders;
use super::{Key, Networks, key_of};
use crate::error::Result;
use crate::records::Standing;

/// Until what could not be undone is tried again: at first, and at the most.
const PAUSES: [std::time::Duration; 2] =
    [std::time::Duration::from_secs(1), std::time::Duration::from_secs(300)];

impl Networks {
    pub(super) fn clear_earlier(&self) {
        // Only those: what begins from now on is somebody's.
        let joining = self.keys(|standing| standing == Standing::Joining);
        let (this, stop) = (self.clone(), self.0.jobs.token());
        drop(self.0.jobs.spawn("networks of an earlier run", async move {
            stop.run_until_cancelled(this.clear(joining)).await
        }));
    }

    async fn clear(&self, joining: Result<BTreeSet<Key>>) {
        let mut pauses = Pauses::new(PAUSES);
        let begun = match joining {
            Ok(joining) => self.leave_all(joining).await,
            Err(error) => Err(error),
        };
        if let Err(error) = begun {
            tracing::error!(error = chain(&error), "look for attachments that were cut off");
        }
        loop {
            match self.clear_once().await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "undo what has no record, again later");
                }
            }
            pauses.wait().await;
        }
        if let Err(error) = self.rewrite_hosts().await {
            tracing::warn!(error = chain(&error), "rewrite hosts files");
        }
    }

    /// Attachments that were never acknowledged.
    async fn leave_all(&self, joining: BTreeSet<Key>) -> Result<()> {
        for key in joining {
            let _alone = self.0.names.alone(&key).await;
            // Somebody may have asked for it again.
            if self.record(&key)?.is_some_and(|now| now.standing == Standing::Joining) {
                self.leave(&key).await?;
            }
        }
        self.0.departures.notify_one();
        Ok(())
    }

    /// Undoes what has no record: plugins' work, namespaces, files. All of it is tried.
    pub(crate) async fn clear_once(&self) -> Result<()> {
        let left = self.0.engine.leftovers(&[]).await.map_err(|e| Fault::from(Box::new(e)))?;
        let mut done = Ok(());
        for id in left.into_iter().map(|left| left.id) {
            done = self.clear_interface(id).await.and(done);
        }
        let files = self.0.folders.clone();
        let look = move || Ok::<_, Fault>((pins(&files)?, files.all()?));
        let looked = berth_lifecycle::blocking("look for network namespaces", look).await;
        let (pins, files) = looked.map_err(Fault::from)??;
        for pin in pins {
            done = self.clear_namespace(pin).await.and(done);
        }
        for key in files {
            let (folders, own) = (self.0.folders.clone(), key.clone());
            let remove = move || folders.remove(&own);
            done = self.unless_on_record(&key, remove).await.and(done);
        }
        done
    }

    async fn clear_interface(&self, id: AttachmentId) -> Result<()> {
        // One that is not called as ours are is nobody's.
        let key = key_of(&id.container_id).unwrap_or_default();
        let _alone = self.0.names.alone(&key).await;
        let is_its = |record: crate::records::Attachment| {
            let is_it = |joined: &crate::records::Joined| {
                joined.network == id.network && joined.ifname == id.ifname
            };
            record.joined.iter().any(is_it)
        };
        if self.record(&key)?.is_some_and(is_its) {
            return Ok(());
        }
        tracing::info!(attachment = %id, "undo an attachment without a record");
        let _turn = self.0.leaving.take().await;
        Ok(self.0.engine.remove(&id).await.map_err(|error| Fault::from(Box::new(error)))?)
    }

    async fn clear_namespace(&self, pin: NetNs) -> Result<()> {
        let name = pin.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key = key_of(&name).unwrap_or_default();
        self.unless_on_record(&key, move || Ok(pin.remove()?)).await
    }

    async fn unless_on_record(
        &self,
        key: &Key,
        remove: impl FnOnce() -> Result<(), Fault> + Send + 'static,
    ) -> Result<()> {
        let _alone = self.0.names.alone(key).await;
        if self.record(key)?.is_some() {
            return Ok(());
        }
        let removed = berth_lifecycle::blocking("remove what has no record", remove).await;
        Ok(removed.map_err(Fault::from)??)
    }

    /// What is on record and stands so.
    pub(super) fn keys(&self, stands: impl Fn(Standing) -> bool) -> Result<BTreeSet<Key>> {
        let every = self.every()?.into_iter();
        Ok(every.filter(|(_, record)| stands(record.standing)).map(|(key, _)| key).collect())
    }
}

/// The namespaces that are pinned, their owners too, and what is left of cut off ones.
pub(super) fn pins(folders: &Folders) -> Result<Vec<NetNs>, Fault> {
    let mut pins = Vec::new();
    for folder in [folders.namespaces(), folders.users()] {
        pins.extend(berth_netns::list(&folder)?);
        pins.extend(berth_netns::leftovers(&folder)?);
    }
    Ok(pins)
}
