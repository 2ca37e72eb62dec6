//! A container's process has ended: when, with what, and why.

use std::sync::Arc;

use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::v1::types::Status as TaskStatus;
use berth_proto::runtime::v1::ContainerState;

use super::{Container, Containers, Shared, Standing};
use crate::Result;
use crate::events::Kind;
use crate::peers::{QUICK, WORK, call, gone_is_fine, refused};
use crate::pods::nanoseconds;

/// What memory that ran out is called.
const NO_MEMORY: &str = "OOMKilled";
/// How one has ended of which nobody knows how.
const UNKNOWN: (i32, &str) = (255, "Unknown");

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its number.
    pub code: i32,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

impl Containers {
    /// Takes in that a process has ended, if it is a container's own.
    pub async fn ended(&self, id: &str, exit: Exit) {
        let Some(container) = self.0.there().get(id).cloned() else { return };
        self.0.take_in(&container, exit).await;
    }

    /// Takes in that memory ran out in a container.
    pub async fn lacks_memory(&self, id: &str) {
        let Some(container) = self.0.there().get(id).cloned() else { return };
        let reason = |standing: &mut Standing| NO_MEMORY.clone_into(&mut standing.status.reason);
        if let Err(error) = self.0.settle(&container, reason).await {
            tracing::error!(id, error = berth_errors::chain(&error), "note that memory ran out");
        }
    }

    /// Looks whether processes of containers have ended that nobody told of.
    pub async fn look(&self) {
        for container in self.all() {
            let state = container.standing().state();
            if matches!(state, ContainerState::ContainerRunning | ContainerState::ContainerUnknown)
            {
                self.0.look_at(&container).await;
            }
        }
    }
}

impl Shared {
    /// Notes how a container ended, and takes away what is left of its process.
    async fn take_in(&self, container: &Arc<Container>, exit: Exit) {
        let id = container.id();
        if let Err(error) = self.note(container, exit).await {
            let error = berth_errors::chain(&error);
            tracing::error!(id, error, "note how a container ended: it is looked at again");
        }
    }

    async fn note(&self, container: &Arc<Container>, exit: Exit) -> Result<()> {
        if container.standing().status.finished_at == 0 {
            // Written down before the shim forgets it.
            let ended = |standing: &mut Standing| {
                standing.status.finished_at = exit.at.max(1);
                standing.status.exit_code = exit.code;
            };
            let mut standing = container.standing();
            ended(&mut standing);
            self.parts.statuses.put(container.id(), standing.status.clone()).await?;
            self.forget_process(container.id()).await?;
            container.now.send_modify(|now| {
                ended(now);
                now.pid = 0;
                now.unknown = false;
            });
            self.tell(container, Kind::ContainerStoppedEvent);
            return Ok(());
        }
        self.forget_process(container.id()).await
    }

    async fn forget_process(&self, id: &str) -> Result<()> {
        let request = wire::DeleteTaskRequest { container_id: id.to_owned() };
        let deleted = self.parts.node.tasks().delete(call(request, WORK)).await;
        gone_is_fine(deleted).map_err(refused("delete ended task"))
    }

    /// Kills what there is of a container's process, of which nobody is told, and takes it away.
    pub(super) async fn end_process(&self, id: &str) -> Result<()> {
        let request = wire::KillRequest {
            container_id: id.to_owned(),
            signal: 9,
            all: true,
            ..Default::default()
        };
        let killed = self.parts.node.tasks().kill(call(request, WORK)).await;
        gone_is_fine(killed).map_err(refused("kill task"))?;
        self.forget_process(id).await
    }

    /// Asks how a container's process is, and takes in what has become of it.
    pub(super) async fn look_at(&self, container: &Arc<Container>) {
        let id = container.id();
        let request = wire::GetRequest { container_id: id.to_owned(), ..Default::default() };
        let process = match self.parts.node.tasks().get(call(request, QUICK)).await {
            Ok(answer) => answer.into_inner().process.unwrap_or_default(),
            Err(status) if status.code() == tonic::Code::NotFound => {
                let started = container.standing().status.started_at != 0;
                if started {
                    let (code, reason) = UNKNOWN;
                    container.now.send_modify(|now| reason.clone_into(&mut now.status.reason));
                    self.take_in(container, Exit { code, at: nanoseconds() }).await;
                }
                return;
            }
            // Who cannot say it now says it when it is asked again.
            Err(_) => return,
        };
        match process.status() {
            TaskStatus::Stopped => {
                let at = process.exited_at.as_ref();
                let at = at.map_or_else(nanoseconds, |at| {
                    at.seconds * 1_000_000_000 + i64::from(at.nanos)
                });
                let code = i32::try_from(process.exit_status).unwrap_or(UNKNOWN.0);
                self.take_in(container, Exit { code, at }).await;
            }
            TaskStatus::Running | TaskStatus::Paused | TaskStatus::Pausing => {
                container.now.send_modify(|now| {
                    now.pid = process.pid;
                    now.unknown = false;
                });
            }
            TaskStatus::Created | TaskStatus::Unknown => {}
        }
    }
}
