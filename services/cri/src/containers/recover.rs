//! What an earlier run has left: containers whose records are whole, and parts of others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_cri_spec::Kind;
use berth_lifecycle::Pauses;
use berth_proto::runtime::v1::ContainerState;
use futures::StreamExt;

use super::{Container, Containers, Standing};
use crate::peers::AT_ONCE;
use crate::peers::containers::{self, Record};
use crate::peers::tasks::{self, Process};
use crate::records::metadata::{Metadata, OfContainer, unpack};
use crate::records::status::Status;
use crate::{Error, Result, time};

/// Between two looks at one whose process cannot be told of, at most.
const LONGEST: Duration = Duration::from_secs(15);

impl Containers {
    /// Takes over the containers that there are. One that was being made when an earlier run was cut off has no status:
    /// it has ended, and nobody knows how.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Store`]: nothing is known then.
    pub async fn recover(&self) -> Result<()> {
        let mut found = Vec::new();
        let node = &self.0.parts.node;
        containers::each(node, Kind::Container, |record| found.push(record)).await?;
        let on_record: BTreeSet<_> = found.iter().map(|record| record.id.clone()).collect();
        for record in &found {
            if let Err(error) = self.take_over(record) {
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
        self.look_at_new().await;
        self.look_at_ended().await;
        self.end_earlier_commands().await?;
        let folders = self.0.parts.folders.clone();
        berth_lifecycle::blocking("clear folders", move || folders.clear(&on_record)).await?
    }

    /// One that is on record as not started may have a process all the same: the answer to its start was not written
    /// down.
    async fn look_at_new(&self) {
        let is_new =
            |one: &Arc<Container>| one.standing().state() == ContainerState::ContainerCreated;
        let new = futures::stream::iter(self.all().into_iter().filter(is_new));
        let look = |one: Arc<Container>| async move {
            if !self.0.look_at_new(&one).await {
                self.look_at_new_again(one);
            }
        };
        new.for_each_concurrent(AT_ONCE, look).await;
    }

    /// The process of one that is being restored cannot be ended, and runs when that is done.
    fn look_at_new_again(&self, container: Arc<Container>) {
        let this = self.0.clone();
        self.0.parts.jobs.spawn_endless("look-at-new", async move {
            let mut pauses = Pauses::up_to(LONGEST);
            loop {
                pauses.wait().await;
                let _alone = this.turns.alone(container.id()).await;
                let standing = container.standing();
                let is_new = standing.state() == ContainerState::ContainerCreated
                    && !standing.removing
                    && this.there().contains_key(container.id());
                if !is_new || this.look_at_new(&container).await {
                    return;
                }
            }
        });
    }

    /// One that has ended may have a process all the same: it could not be ended, or not cleared away, by then.
    async fn look_at_ended(&self) {
        let has_ended =
            |one: &Arc<Container>| one.standing().state() == ContainerState::ContainerExited;
        let ended = futures::stream::iter(self.all().into_iter().filter(has_ended));
        let look = |one: Arc<Container>| async move {
            if !matches!(tasks::get(&self.0.parts.node, one.id()).await, Ok(None)) {
                self.0.end_later(&one);
            }
        };
        ended.for_each_concurrent(AT_ONCE, look).await;
    }

    fn take_over(&self, record: &Record) -> Result<()> {
        let missing = || Error::Unreadable {
            what: OfContainer::WHAT,
            id: record.id.clone(),
            why: "its extension is missing".to_owned(),
        };
        let metadata = record.extensions.get(OfContainer::EXTENSION).ok_or_else(missing)?;
        let metadata: OfContainer = unpack(&record.id, metadata)?;
        let created = record.created_at;
        // A status that is lost is told as such; nothing is removed for it.
        let lost = || Status { created_at: created, started_at: created, ..Status::default() };
        let status = self.0.parts.statuses.get(&record.id)?.unwrap_or_else(lost);
        let (config, spec) = (metadata.config()?, record.spec()?);
        let unknown = status.started_at != 0 && status.finished_at == 0;
        if let Err(error) = self.0.names.reserve(&metadata.name, &metadata.id) {
            // Both are shown, so that one can be removed.
            let error = berth_errors::chain(&error);
            tracing::error!(id = metadata.id, error, "two containers have one name");
        }
        let id = metadata.id.clone();
        let standing = Standing { status, unknown, ..Standing::default() };
        let made_by = record.snapshotter.clone();
        let container = Container::new(metadata, config, made_by, standing, &spec);
        self.0.there().insert(id, Arc::new(container));
        Ok(())
    }
}

impl super::Shared {
    /// A process that was made and not started is nobody's: the container can be started. One that was started counts
    /// from now. Answers whether it is known what became of it.
    async fn look_at_new(&self, container: &Arc<Container>) -> bool {
        let done = match tasks::get(&self.parts.node, container.id()).await {
            Ok(None) => Ok(()),
            Ok(Some(Process::Created)) => self.end_process(container.id()).await,
            Ok(Some(_)) => {
                let started = |standing: &mut Standing| standing.status.started_at = time::now();
                let noted = self.settle(container, started).await;
                self.look_at(container).await;
                noted.map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &done {
            let error = berth_errors::chain(error);
            tracing::warn!(
                id = container.id(),
                error,
                "look at a process whose start was not noted: it is tried again"
            );
        }
        done.is_ok()
    }
}
