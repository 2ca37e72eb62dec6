//! Stopping and removing a container. Both are no error for one that is not there.

use std::sync::Arc;
use std::time::Duration;

use berth_cri_spec as spec;
use berth_proto::runtime::v1::ContainerState;
use tokio::time::timeout;

use super::{Container, Containers, Shared};
use crate::events::Kind;
use crate::peers::tasks::{self, KILL, Whose};
use crate::{Error, Result};

/// Between two questions whether it has ended.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a container may take to be gone that was killed: longer than the kernel does, and the disk.
const GONE: Duration = Duration::from_secs(120);

impl Containers {
    /// Asks a container's process to end, and kills it if it has not when the grace is over; none kills it at once.
    /// A caller that leaves during the grace leaves it as it is. One that is being saved hears nothing until it goes on:
    /// it is killed when the grace is over, and what is written of it is lost.
    ///
    /// # Errors
    /// [`Error::Refused`] for a signal that is none; [`Error::Deadline`] for one that does not even end when it is
    /// killed; [`Error::Peer`].
    pub async fn stop(&self, id: &str, grace: i64) -> Result<()> {
        let container = match self.find(id) {
            Err(error) if error.is_not_found() => return Ok(()),
            found => found?,
        };
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        self.0.stop(&container, grace).await
    }

    /// Ends all of a pod's at once.
    ///
    /// # Errors
    /// As [`Containers::stop`]: the first.
    pub async fn stop_all_of(&self, pod: &str) -> Result<()> {
        let ending = self.of_pod(pod).into_iter().map(|container| async move {
            let step = format!("failed to stop container {:?}", container.id());
            self.0.stop(&container, Duration::ZERO).await.map_err(Error::within(step))
        });
        futures::future::try_join_all(ending).await.map(drop)
    }

    /// Removes a container with all that is kept of it; one that runs is killed before.
    ///
    /// # Errors
    /// As [`Containers::stop`]; [`Error::Refused`] while it is being removed; [`Error::Deadline`] for one that is still
    /// being saved; [`Error::Peer`], [`Error::File`]: it is still there then.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let container = match self.find(id) {
            Err(error) if error.is_not_found() => return Ok(()),
            found => found?,
        };
        let this = self.clone();
        self.to_the_end("remove-container", async move { this.0.remove(&container).await }).await
    }

    /// Removes all of a pod's.
    ///
    /// # Errors
    /// As [`Containers::remove`]: the first.
    pub async fn remove_all_of(&self, pod: &str) -> Result<()> {
        for container in self.of_pod(pod) {
            let step = format!("failed to remove container {:?}", container.id());
            self.remove(container.id()).await.map_err(Error::within(step))?;
        }
        Ok(())
    }
}

impl Shared {
    async fn stop(&self, container: &Arc<Container>, grace: Duration) -> Result<()> {
        // A start under way is waited for.
        drop(self.turns.alone(container.id()).await);
        let state = container.standing().state();
        if !container.may_run() {
            return Ok(());
        }
        if !grace.is_zero() && state == ContainerState::ContainerRunning {
            let signal = &container.metadata.stop_signal;
            let signal = if signal.is_empty() { "SIGTERM" } else { signal };
            let number = spec::signal_number(signal)?;
            if let Ok(ended) = timeout(grace, self.ask(container, number)).await {
                return ended;
            }
        }
        self.kill(container, KILL).await?;
        // Nobody may tell of its end: it is asked for.
        let asking = async {
            while container.may_run() {
                self.look_at(container).await;
                let _ = timeout(AGAIN, container.ended()).await;
            }
        };
        // What is left of it is not waited for: its shim keeps that while it is being saved.
        let gone = async {
            tokio::select! { () = asking => {}, () = container.ended() => {} }
        };
        let late = |_| Error::Deadline(format!("wait container {:?}", container.id()));
        timeout(GONE, gone).await.map_err(late)
    }

    /// Asks it to end, and waits until it has. One that is being saved stands still: it could not hear, and would be
    /// saved as one that is to end.
    async fn ask(&self, container: &Container, signal: u32) -> Result<()> {
        tokio::select! {
            () = container.ended() => return Ok(()),
            saved = self.saves.alone(container.id()) => drop(saved),
        }
        // Over several calls it is sent once.
        if !container.standing().asked_to_stop {
            self.kill(container, signal).await?;
            container.now.send_modify(|now| now.asked_to_stop = true);
        }
        container.ended().await;
        Ok(())
    }

    async fn kill(&self, container: &Container, signal: u32) -> Result<()> {
        tasks::kill(&self.parts.node, &Whose::own(container.id()), signal).await
    }

    async fn remove(&self, container: &Arc<Container>) -> Result<()> {
        let id = container.id();
        let step = format!("failed to forcibly stop container {id:?}");
        self.stop(container, Duration::ZERO).await.map_err(Error::within(step))?;
        let _alone = self.turn(id).await?;
        if !self.there().contains_key(id) {
            return Ok(());
        }
        if container.may_run() {
            let why = "container is still running, to stop first";
            let step = format!("failed to set removing state for container {id:?}: {why}");
            return Err(Error::Refused(step));
        }
        container.now.send_modify(|now| now.removing = true);
        let removed = self.take_away(id).await;
        if removed.is_err() {
            container.now.send_modify(|now| now.removing = false);
            return removed;
        }
        self.there().remove(id);
        self.names.release(id);
        self.tell(container, Kind::ContainerDeletedEvent);
        Ok(())
    }
}
