//! What an earlier run has left: containers whose records are whole, and parts of others.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_cri_spec::{KIND_LABEL, Kind};
use berth_proto::containerd::services::containers::v1::{
    Container as Record, ListContainersRequest,
};
use tokio::sync::watch;

use super::{Container, Containers, Standing};
use crate::peers::{WORK, call, refused};
use crate::records::metadata::{Metadata, OfContainer, unpack};
use crate::records::status::Status;
use crate::{Error, Result};

impl Containers {
    /// Takes over the containers that there are. One that was being made when an earlier run was cut off has no status:
    /// it has ended, and nobody knows how.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Store`]: nothing is known then.
    pub async fn recover(&self) -> Result<()> {
        let filters = vec![format!("labels.{KIND_LABEL:?}=={}", Kind::Container.as_str())];
        let request = call(ListContainersRequest { filters }, WORK);
        let listed = self.0.parts.node.containers().list(request).await;
        let listed = listed.map_err(refused("list containers"))?.into_inner().containers;
        let on_record: BTreeSet<_> = listed.iter().map(|record| record.id.clone()).collect();
        for record in &listed {
            if let Err(error) = self.take_over(record).await {
                let error = berth_errors::chain(&error);
                tracing::error!(
                    id = record.id,
                    error,
                    "container is left out: its record cannot be read"
                );
            }
        }
        for id in self.0.parts.statuses.ids()? {
            if !on_record.contains(&id) {
                self.0.parts.statuses.delete(&id).await?;
            }
        }
        self.look().await;
        Ok(())
    }

    async fn take_over(&self, record: &Record) -> Result<()> {
        let missing = || Error::Unreadable {
            what: OfContainer::WHAT,
            id: record.id.clone(),
            why: "its extension is missing".to_owned(),
        };
        let metadata = record.extensions.get(OfContainer::EXTENSION).ok_or_else(missing)?;
        let metadata: OfContainer = unpack(&record.id, metadata)?;
        let created = record.created_at.as_ref();
        let created = created.map_or(1, |at| at.seconds * 1_000_000_000 + i64::from(at.nanos));
        // A status that is lost is told as such; nothing is removed for it.
        let lost = || Status { created_at: created, started_at: created, ..Status::default() };
        let status = self.0.parts.statuses.get(&record.id)?.unwrap_or_else(lost);
        let config = metadata.config()?;
        let unknown = status.started_at != 0 && status.finished_at == 0;
        self.0.names.reserve(&metadata.name, &metadata.id)?;
        let id = metadata.id.clone();
        let now = watch::Sender::new(Standing { status, unknown, ..Standing::default() });
        let container = Arc::new(Container { metadata, config, now });
        self.0.there().insert(id, container.clone());
        self.0.clear_unstarted(&container).await;
        Ok(())
    }
}

impl super::Shared {
    /// A process that was made and not started is nobody's: the container can be started.
    async fn clear_unstarted(&self, container: &Container) {
        let Status { created_at, started_at, finished_at, .. } = container.standing().status;
        if created_at == 0 || started_at != 0 || finished_at != 0 {
            return;
        }
        if let Err(error) = self.end_process(container.id()).await {
            let error = berth_errors::chain(&error);
            tracing::warn!(id = container.id(), error, "clear a process that was not started");
        }
    }
}
