//! What the runtime tells of processes.

use berth_proto::berth::node::v1::NodeEvent;
use berth_proto::containerd::events::{TaskExit, TaskOom};
use berth_proto::unpack;

use super::tasks::Exit;
use crate::NAMESPACE;

/// What became of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Its own process has ended.
    Ended {
        /// The container.
        id: String,
        /// The number that the process had.
        pid: u32,
        /// How.
        exit: Exit,
    },
    /// Memory ran out in it.
    NoMemory(String),
}

/// What an event tells of a container of pods; most tell nothing.
#[must_use]
pub fn news(event: NodeEvent) -> Option<News> {
    let value = event.event.filter(|_| event.namespace == NAMESPACE)?;
    if let Some(Ok(exit)) = unpack::<TaskExit>(&value) {
        // A command within a container has a number of its own.
        let is_own = exit.id == exit.container_id;
        let how = Exit::new(exit.exit_status, exit.exited_at.as_ref());
        return is_own.then_some(News::Ended { id: exit.id, pid: exit.pid, exit: how });
    }
    let oom = unpack::<TaskOom>(&value)?.ok()?;
    Some(News::NoMemory(oom.container_id))
}
