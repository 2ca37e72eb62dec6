//! A container's process has ended: when, with what, and why.

use std::sync::Arc;
use std::time::Duration;

use berth_lifecycle::Pauses;
use berth_proto::runtime::v1::ContainerState;
use futures::StreamExt;

use super::{Container, Containers, Shared, Standing};
use crate::events::Kind;
use crate::peers::tasks::{self, Exit, Process, Whose};
use crate::peers::{AT_ONCE, WORK};
use crate::{Error, Result, time};

/// What memory that ran out is called.
const NO_MEMORY: &str = "OOMKilled";
/// The number that one ends with which was killed.
const KILLED: i32 = 137;
/// Between two attempts to take an end in, at most.
const LONGEST: Duration = Duration::from_secs(30);
/// The same of one that may run, though its container has ended.
const LONGEST_OF_RUNNING: Duration = Duration::from_secs(15);
/// How one has ended of which nobody knows how.
const UNKNOWN: (i32, &str) = (255, "Unknown");

/// How a container ended.
#[derive(Clone, Copy)]
struct End {
    /// When, in nanoseconds since 1970.
    at: i64,
    code: i32,
    /// Empty: as the number says.
    reason: &'static str,
}

impl Containers {
    /// Takes in that the process of this number has ended, if it is a container's own.
    pub fn ended(&self, id: &str, pid: u32, exit: Exit) {
        let Some(container) = self.0.there().get(id).cloned() else { return };
        let this = self.clone();
        self.0.parts.jobs.spawn("container-ended", async move {
            // A start under way is told of first.
            drop(this.0.turns.alone(container.id()).await);
            // Nobody is told that one ran whose start has failed, nor is it taken for the one of the next start.
            let now = container.standing();
            if now.status.started_at != 0 && (now.pid == 0 || now.pid == pid) {
                this.0.take_in(&container, exit).await;
            }
        });
    }

    /// Takes in that memory ran out in a container.
    pub fn lacks_memory(&self, id: &str) {
        let Some(container) = self.0.there().get(id).cloned() else { return };
        let this = self.clone();
        self.0.parts.jobs.spawn("container-oom", async move {
            let reason =
                |standing: &mut Standing| NO_MEMORY.clone_into(&mut standing.status.reason);
            if let Err(error) = this.0.settle(&container, reason).await {
                let error = berth_errors::chain(&error);
                tracing::error!(id = container.id(), error, "note that memory ran out");
            }
        });
    }

    /// Looks whether processes of containers have ended that nobody told of.
    pub async fn look(&self) {
        self.look_at(|state| {
            matches!(state, ContainerState::ContainerRunning | ContainerState::ContainerUnknown)
        })
        .await;
    }

    /// Asks again about those of which nobody could say how they are.
    pub async fn look_again(&self) {
        self.look_at(|state| state == ContainerState::ContainerUnknown).await;
    }

    async fn look_at(&self, is_asked: impl Fn(ContainerState) -> bool) {
        let asked = self.all().into_iter().filter(|one| is_asked(one.standing().state()));
        let looking = futures::stream::iter(asked);
        looking.for_each_concurrent(AT_ONCE, |one| async move { self.0.look_at(&one).await }).await;
    }
}

impl Shared {
    /// Takes in how a container ended.
    async fn take_in(&self, container: &Arc<Container>, exit: Exit) {
        // What the kernel tells of that may come after the end.
        let lacked_memory =
            exit.code == KILLED && tasks::lacked_memory(&self.parts.node, container.id()).await;
        let reason = if lacked_memory { NO_MEMORY } else { "" };
        self.take_in_end(container, End { at: exit.at.max(1), code: exit.code, reason }).await;
    }

    /// It runs no more, and nobody knows since when, or how it ended; unless it was written down before.
    async fn take_in_unknown(&self, container: &Arc<Container>) {
        let (code, reason) = UNKNOWN;
        self.take_in_end(container, End { at: time::now(), code, reason }).await;
    }

    async fn take_in_end(&self, container: &Arc<Container>, end: End) {
        // Whoever is here may wait for that to be known. Shims that are slow hold up nobody, and what fails is tried again.
        let noted = self.note_end(container, end).await;
        self.clear_away(container, end, noted.err());
    }

    /// Takes away what is left of an ended process, once its end is noted, until that holds or the container is gone:
    /// one job for each container.
    fn clear_away(&self, container: &Arc<Container>, end: End, mut failed: Option<Error>) {
        let (Some(this), container) = (self.this.upgrade(), container.clone()) else { return };
        let stop = self.parts.jobs.token();
        self.parts.jobs.spawn("clear-away-ended", async move {
            let Ok(_alone) = container.ending.try_lock() else { return };
            let mut pauses = Pauses::up_to(LONGEST);
            loop {
                let done = match failed.take() {
                    Some(error) => Err(error),
                    None => this.settle_end(&container, end).await,
                };
                let id = container.id();
                let Err(error) = done else { return };
                if !this.there().contains_key(id) {
                    return;
                }
                let error = berth_errors::chain(&error);
                let pause = pauses.next();
                tracing::warn!(id, error, ?pause, "take in an end: it is tried again");
                if stop.run_until_cancelled(pauses.wait()).await.is_none() {
                    return;
                }
            }
        });
    }

    /// Until an end is on disk here, the task has the only word of it.
    async fn settle_end(&self, container: &Arc<Container>, end: End) -> Result<()> {
        self.note_end(container, end).await?;
        tasks::delete(&self.parts.node, &Whose::own(container.id())).await
    }

    /// Notes how a container ended, and tells it, unless that was done before.
    async fn note_end(&self, container: &Arc<Container>, end: End) -> Result<()> {
        // Of what nobody knows any more something may have been written down.
        let written = match end.reason == UNKNOWN.1 {
            true => self.parts.statuses.get(container.id())?,
            false => None,
        };
        let written = written.filter(|written| written.finished_at != 0);
        let ended = |standing: &mut Standing| {
            if standing.status.finished_at != 0 {
                return;
            }
            match written {
                Some(written) => standing.status = written,
                None => {
                    standing.status.finished_at = end.at;
                    standing.status.exit_code = end.code;
                    if !end.reason.is_empty() {
                        end.reason.clone_into(&mut standing.status.reason);
                    }
                }
            }
            (standing.pid, standing.unknown) = (0, false);
        };
        let noted = self.settle(container, ended).await;
        if noted.map_err(Error::within("note how a container ended"))? {
            self.tell(container, Kind::ContainerStoppedEvent);
        }
        Ok(())
    }

    /// Takes away what there is of a container's process, of which nobody is told; one that runs is killed.
    pub(super) async fn end_process(&self, id: &str) -> Result<()> {
        let (node, whose) = (&self.parts.node, Whose::own(id));
        match tasks::delete(node, &whose).await {
            Ok(()) => Ok(()),
            Err(_) => tasks::end(node, &whose, WORK).await,
        }
    }

    /// Ends what there is of the process of a container that has ended, tried again until that holds: one that is being
    /// restored cannot be ended, and may run afterwards. What is left when this service stops the next start ends.
    pub(super) fn end_later(self: &Arc<Self>, container: &Arc<Container>) {
        let (this, container) = (self.clone(), container.clone());
        self.parts.jobs.spawn_endless("end-container", async move {
            let (id, mut pauses) = (container.id(), Pauses::up_to(LONGEST_OF_RUNNING));
            while let Err(error) = this.end_unless_started(&container).await {
                let (error, pause) = (berth_errors::chain(&error), pauses.next());
                tracing::warn!(
                    id,
                    error,
                    ?pause,
                    "end what is left of a container: it is tried again"
                );
                pauses.wait().await;
            }
        });
    }

    /// Ends what is left of one that does not run, as far as anybody is told.
    async fn end_unless_started(&self, container: &Container) -> Result<()> {
        let id = container.id();
        // One whose failed start could not be written down may be started again.
        let is_new = container.standing().state() == ContainerState::ContainerCreated;
        let _alone = if is_new { Some(self.turns.alone(id).await) } else { None };
        // Who removes it ends its process before.
        if container.may_run() || !self.there().contains_key(id) {
            return Ok(());
        }
        self.end_process(id).await
    }

    /// Asks how a container's process is, and takes in what has become of it.
    pub(super) async fn look_at(&self, container: &Arc<Container>) {
        // Who cannot say it now says it when it is asked again.
        let Ok(process) = tasks::get(&self.parts.node, container.id()).await else { return };
        match process {
            Some(Process::Ended(exit)) => self.take_in(container, exit).await,
            Some(Process::Running(pid)) => container.now.send_modify(|now| {
                now.pid = pid;
                now.unknown = false;
            }),
            Some(Process::Created | Process::Unknown) => {}
            None => {
                let status = container.standing().status;
                if status.started_at != 0 && status.finished_at == 0 {
                    self.take_in_unknown(container).await;
                }
            }
        }
    }
}
