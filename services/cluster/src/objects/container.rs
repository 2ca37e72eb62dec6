//! A container on a node.

use std::collections::BTreeMap;

use time::OffsetDateTime;

/// The most labels of a container that are shown.
pub const MAX_LABELS: usize = 32;
/// The most bytes of its labels that are shown, keys and values together.
pub const MAX_LABELS_BYTES: usize = 2 << 10;

/// What a container's task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// There is no task.
    None,
    /// It was created and not started.
    Created,
    /// It runs.
    Running,
    /// It is paused.
    Paused,
    /// It has ended.
    Stopped,
    /// Its shim does not say.
    Unknown,
}

impl TaskState {
    /// Its name in lists and filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TaskState::None => "none",
            TaskState::Created => "created",
            TaskState::Running => "running",
            TaskState::Paused => "paused",
            TaskState::Stopped => "stopped",
            TaskState::Unknown => "unknown",
        }
    }
}

/// A container with its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The name of its image; may be empty.
    pub image: String,
    /// Such as `io.containerd.runc.v2`.
    pub runtime: String,
    /// Those that fit in [`MAX_LABELS`] and [`MAX_LABELS_BYTES`], in their order.
    pub labels: BTreeMap<String, String>,
    /// There are more labels.
    pub labels_left_out: bool,
    /// When its record was made.
    pub created: Option<OffsetDateTime>,
    /// What its task does.
    pub state: TaskState,
    /// Of the task; 0 without one.
    pub pid: u32,
    /// Of a stopped task.
    pub exit_status: u32,
    /// Of a stopped task.
    pub exited: Option<OffsetDateTime>,
}

impl Container {
    /// Takes those of `labels` that fit.
    #[must_use]
    pub fn with_labels(mut self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut bytes = 0;
        for (key, value) in labels {
            bytes += key.len() + value.len();
            if bytes > MAX_LABELS_BYTES || self.labels.len() == MAX_LABELS {
                self.labels_left_out = true;
                break;
            }
            self.labels.insert(key, value);
        }
        self
    }
}
