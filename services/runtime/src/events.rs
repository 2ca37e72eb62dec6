//! What happens in this service, told after it is durable.

use std::sync::Arc;
use std::time::SystemTime;

use berth_events::Position;
use berth_ids::{Labels, Namespace};
use berth_mount::Mount;
use serde::{Deserialize, Serialize};

use crate::process::{Exit, Io};
use crate::records::{Any, Runtime};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A container was recorded.
    ContainerCreated {
        /// Its name.
        id: String,
        /// Its image.
        image: String,
        /// Its runtime.
        runtime: Runtime,
    },
    /// A container was changed.
    ContainerUpdated {
        /// Its name.
        id: String,
        /// Its image.
        image: String,
        /// Its labels after the change.
        labels: Labels,
        /// Its snapshot.
        snapshot_key: String,
    },
    /// A container was forgotten.
    ContainerDeleted {
        /// Its name.
        id: String,
    },
    /// A task was made.
    TaskCreated {
        /// The container.
        id: String,
        /// The task's folder.
        bundle: String,
        /// What its root file system was mounted from.
        rootfs: Vec<Mount>,
        /// Its streams.
        io: Io,
        /// The checkpoint that it was restored from.
        checkpoint: String,
        /// Its first process.
        pid: u32,
    },
    /// A task's first process runs.
    TaskStarted {
        /// The container.
        id: String,
        /// Its first process.
        pid: u32,
    },
    /// A process was added to a task.
    ExecAdded {
        /// The container.
        id: String,
        /// The process's name.
        exec: String,
    },
    /// An added process runs.
    ExecStarted {
        /// The container.
        id: String,
        /// The process's name.
        exec: String,
        /// Its number.
        pid: u32,
    },
    /// A process ended.
    Exited {
        /// The container.
        id: String,
        /// The process's name; the container's for the first.
        process: String,
        /// How.
        exit: Exit,
    },
    /// A task was deleted.
    TaskDeleted {
        /// The container.
        id: String,
        /// How its first process ended.
        exit: Exit,
    },
    /// A sandbox was made.
    SandboxCreated {
        /// Its name.
        id: String,
    },
    /// A sandbox runs.
    SandboxStarted {
        /// Its name.
        id: String,
    },
    /// A sandbox ended.
    SandboxExited {
        /// Its name.
        id: String,
        /// How.
        exit: Exit,
    },
    /// What a client or a shim handed over as it is.
    Foreign {
        /// Its topic.
        topic: String,
        /// The event.
        event: Any,
    },
}

/// When and where an event was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The time that it bears.
    pub at: SystemTime,
    /// Where it stands among all that this service told, in this run or an earlier one.
    pub position: Position,
}

/// Takes events in order.
pub trait Sink: Send + Sync {
    /// Tells of an event that happened at `at`; answers where it stands. Never waits.
    fn publish_at(&self, at: SystemTime, namespace: &Namespace, event: Event) -> Position;

    /// Takes in what an earlier run told, for subscribers that come back from it and had not got
    /// it.
    fn recall(&self, stamp: Stamp, namespace: &Namespace, event: Event);
}

/// Where this service tells its events.
#[derive(Clone)]
pub struct Events(Arc<dyn Sink>);

impl Events {
    /// Tells them to `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self(sink)
    }

    /// Tells of what happened now.
    pub fn publish(&self, namespace: &Namespace, event: Event) {
        self.publish_at(SystemTime::now(), namespace, event);
    }

    /// Tells of what happened at `at`.
    pub fn publish_at(&self, at: SystemTime, namespace: &Namespace, event: Event) -> Stamp {
        Stamp { at, position: self.0.publish_at(at, namespace, event) }
    }

    /// Hands on what an earlier run told.
    pub fn recall(&self, stamp: Stamp, namespace: &Namespace, event: Event) {
        self.0.recall(stamp, namespace, event);
    }
}
