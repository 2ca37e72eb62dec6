//! A container's process has ended: when, with what, and why.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::v1::types::Status as TaskStatus;
use berth_proto::io::containerd::cgroups::{v1, v2};
use berth_proto::runtime::v1::ContainerState;
use berth_proto::unpack;
use futures::StreamExt;

use super::{Container, Containers, Shared, Standing};
use crate::events::Kind;
use crate::peers::{AT_ONCE, KILL, QUICK, WORK, call, gone_is_fine, refused};
use crate::{Result, time};

/// What memory that ran out is called.
const NO_MEMORY: &str = "OOMKilled";
/// The number that one ends with which was killed.
const KILLED: i32 = 137;
/// Between two attempts to clear an ended process away.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
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
    /// Takes in that a process has ended, if it is a container's own. A shim that is slow to clear away holds up nothing
    /// but that.
    pub fn ended(&self, id: &str, exit: Exit) {
        let Some(container) = self.0.there().get(id).cloned() else { return };
        let this = self.clone();
        self.0.parts.jobs.spawn("container-ended", async move {
            this.0.take_in(&container, exit).await;
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
    /// Notes how a container ended, and then takes away what is left of its process, until that holds.
    async fn take_in(&self, container: &Arc<Container>, exit: Exit) {
        let id = container.id();
        let lacked_memory = exit.code == KILLED && self.lacked_memory(id).await;
        let ended = |standing: &mut Standing| {
            if standing.status.finished_at != 0 {
                return;
            }
            standing.status.finished_at = exit.at.max(1);
            standing.status.exit_code = exit.code;
            if lacked_memory {
                NO_MEMORY.clone_into(&mut standing.status.reason);
            }
            (standing.pid, standing.unknown) = (0, false);
        };
        self.end(container, ended).await;
        let mut pause = SHORTEST;
        while let Err(error) = self.forget_process(id).await {
            if !self.there().contains_key(id) {
                return;
            }
            let error = berth_errors::chain(&error);
            tracing::warn!(id, error, ?pause, "clear away an ended process: it is tried again");
            tokio::time::sleep(pause).await;
            pause = LONGEST.min(pause * 2);
        }
    }

    /// It runs no more, and nobody knows since when, or how it ended; unless it was written down before.
    async fn take_in_unknown(&self, container: &Arc<Container>) {
        let written = self.parts.statuses.get(container.id()).ok().flatten();
        let ended = |standing: &mut Standing| {
            if standing.status.finished_at != 0 {
                return;
            }
            match written {
                Some(written) if written.finished_at != 0 => standing.status = written,
                _ => {
                    let (code, reason) = UNKNOWN;
                    standing.status.finished_at = time::now();
                    standing.status.exit_code = code;
                    reason.clone_into(&mut standing.status.reason);
                }
            }
            (standing.pid, standing.unknown) = (0, false);
        };
        self.end(container, ended).await;
    }

    async fn end(&self, container: &Arc<Container>, ended: impl FnOnce(&mut Standing)) {
        match self.settle(container, ended).await {
            Ok(true) => self.tell(container, Kind::ContainerStoppedEvent),
            Ok(false) => {}
            Err(error) => {
                let error = berth_errors::chain(&error);
                tracing::error!(id = container.id(), error, "note how a container ended");
            }
        }
    }

    /// Whether the kernel has killed a process of the container for want of memory. What it tells of that may come
    /// after the end.
    async fn lacked_memory(&self, id: &str) -> bool {
        let request = wire::MetricsRequest { filters: vec![format!("id=={id}")] };
        let asked = self.parts.node.tasks().metrics(call(request, QUICK)).await;
        let metrics = asked.map(|answer| answer.into_inner().metrics).unwrap_or_default();
        metrics
            .iter()
            .filter(|metric| metric.id == id)
            .filter_map(|metric| metric.data.as_ref())
            .any(|data| {
                let one = unpack::<v1::Metrics>(data).and_then(Result::ok);
                let two = unpack::<v2::Metrics>(data).and_then(Result::ok);
                one.and_then(|one| one.memory_oom_control)
                    .is_some_and(|control| control.oom_kill > 0)
                    || two
                        .and_then(|two| two.memory_events)
                        .is_some_and(|events| events.oom_kill > 0)
            })
    }

    async fn forget_process(&self, id: &str) -> Result<()> {
        let request = wire::DeleteTaskRequest { container_id: id.to_owned() };
        let deleted = self.parts.node.tasks().delete(call(request, WORK)).await;
        gone_is_fine(deleted).map_err(refused("delete ended task"))
    }

    /// Takes away what there is of a container's process, of which nobody is told; one that runs is killed.
    pub(super) async fn end_process(&self, id: &str) -> Result<()> {
        if self.forget_process(id).await.is_ok() {
            return Ok(());
        }
        let mut tasks = self.parts.node.tasks();
        let request = wire::KillRequest {
            container_id: id.to_owned(),
            signal: KILL,
            all: true,
            ..Default::default()
        };
        gone_is_fine(tasks.kill(call(request, WORK)).await).map_err(refused("kill task"))?;
        let request = wire::WaitRequest { container_id: id.to_owned(), ..Default::default() };
        gone_is_fine(tasks.wait(call(request, WORK)).await).map_err(refused("wait for task"))?;
        self.forget_process(id).await
    }

    /// Asks how a container's process is, and takes in what has become of it.
    pub(super) async fn look_at(&self, container: &Arc<Container>) {
        let id = container.id();
        let request = wire::GetRequest { container_id: id.to_owned(), ..Default::default() };
        let process = match self.parts.node.tasks().get(call(request, QUICK)).await {
            Ok(answer) => answer.into_inner().process.unwrap_or_default(),
            Err(status) if status.code() == tonic::Code::NotFound => {
                let status = container.standing().status;
                if status.started_at != 0 && status.finished_at == 0 {
                    self.take_in_unknown(container).await;
                }
                return;
            }
            // Who cannot say it now says it when it is asked again.
            Err(_) => return,
        };
        match process.status() {
            TaskStatus::Stopped => {
                let at = time::from_wire(process.exited_at.as_ref()).unwrap_or_else(time::now);
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
