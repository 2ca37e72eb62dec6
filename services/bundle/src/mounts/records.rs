//! What the store holds about activations.

use std::path::PathBuf;
use std::time::SystemTime;

use berth_ids::Labels;
use berth_mount::Mount;
use berth_store::Table;
use serde::{Deserialize, Serialize};

use crate::snapshots::Moment;

/// Activations by namespace and name.
pub(crate) const ACTIVATIONS: Table<(String, String), Record> = Table::new("activations");

/// A mount, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountRow {
    kind: String,
    source: String,
    target: String,
    options: Vec<String>,
}

/// A mount that was made, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveRow {
    pub mount: MountRow,
    pub point: PathBuf,
    pub at: Moment,
}

/// An activation's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Names its directory.
    pub id: u64,
    /// All mounts are made.
    pub whole: bool,
    pub active: Vec<ActiveRow>,
    pub system: Vec<MountRow>,
    pub labels: Labels,
    /// The lease that it was made under, with its incarnation.
    pub lease: Option<(String, u64)>,
}

/// A mount that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// What was mounted.
    pub mount: Mount,
    /// Where.
    pub point: PathBuf,
    /// When.
    pub at: SystemTime,
}

/// What is known of an activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Its name.
    pub name: String,
    /// What is mounted here.
    pub active: Vec<Active>,
    /// What is left for the client to mount.
    pub system: Vec<Mount>,
    /// Its labels.
    pub labels: Labels,
}

impl From<Mount> for MountRow {
    fn from(mount: Mount) -> Self {
        let Mount { kind, source, target, options } = mount;
        Self { kind, source, target, options }
    }
}

impl From<MountRow> for Mount {
    fn from(row: MountRow) -> Self {
        let MountRow { kind, source, target, options } = row;
        Self { kind, source, target, options }
    }
}

impl ActiveRow {
    /// As callers see it.
    pub(crate) fn active(self) -> Active {
        Active { mount: self.mount.into(), point: self.point, at: self.at.time() }
    }
}
