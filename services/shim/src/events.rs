//! What the shim tells of its containers: containerd's event messages and their topics.

use std::time::SystemTime;

use berth_proto::containerd::events::{
    TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOom,
    TaskPaused, TaskResumed, TaskStart,
};
use berth_proto::containerd::types::Envelope;
use prost::Name;

use crate::clock::timestamp;

/// A message with the topic that it is published under.
pub(crate) trait Event: Name {
    const TOPIC: &'static str;
}

macro_rules! topics {
    ($($event:ty => $topic:literal,)*) => {
        $(impl Event for $event { const TOPIC: &'static str = $topic; })*
    };
}

topics! {
    TaskCreate => "/tasks/create",
    TaskStart => "/tasks/start",
    TaskOom => "/tasks/oom",
    TaskExit => "/tasks/exit",
    TaskDelete => "/tasks/delete",
    TaskExecAdded => "/tasks/exec-added",
    TaskExecStarted => "/tasks/exec-started",
    TaskPaused => "/tasks/paused",
    TaskResumed => "/tasks/resumed",
    TaskCheckpointed => "/tasks/checkpointed",
}

/// The event as it is sent.
pub(crate) fn envelope<E: Event>(namespace: &str, event: &E) -> Envelope {
    Envelope {
        timestamp: Some(timestamp(SystemTime::now())),
        namespace: namespace.to_owned(),
        topic: E::TOPIC.to_owned(),
        event: Some(berth_proto::pack(event)),
    }
}
