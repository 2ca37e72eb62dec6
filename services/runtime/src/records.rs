//! The tables of this service's store and what is in them.

mod attachment;

use std::collections::BTreeMap;
use std::time::SystemTime;

use berth_ids::Labels;
use berth_store::Table;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use attachment::{
    Attachment, Choice, Dns, HostsLine, IdRange, Joined, Port, Standing, Users, Wanted,
};

/// Containers, by namespace and id.
pub const CONTAINERS: Table<(String, String), Container> = Table::new("containers");
/// Sandboxes, by namespace and id.
pub const SANDBOXES: Table<(String, String), Sandbox> = Table::new("sandboxes");
/// What is attached to networks, by the namespace and id of the container or sandbox.
pub const ATTACHMENTS: Table<(String, String), Attachment> = Table::new("attachments");

/// The label of containers that the restart monitor looks after: the status that one is kept in,
/// `running` or `stopped`.
pub const RESTART_STATUS: &str = "containerd.io/restart.status";

/// A value of a named type, which this service keeps without looking into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Any {
    /// The type's name.
    pub type_url: String,
    /// The encoded value.
    pub value: Bytes,
}

/// The runtime that a container or a sandbox is run by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its name, for instance `io.containerd.runc.v2`, or a path.
    pub name: String,
    /// Its options.
    #[serde(default)]
    pub options: Option<Any>,
}

/// A container: what is needed to make tasks of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub id: String,
    /// Free labels.
    #[serde(default)]
    pub labels: Labels,
    /// The image's name, for people.
    #[serde(default)]
    pub image: String,
    /// Its runtime.
    pub runtime: Runtime,
    /// The OCI runtime specification.
    #[serde(default)]
    pub spec: Option<Any>,
    /// Who keeps its root file system.
    #[serde(default)]
    pub snapshotter: String,
    /// The snapshot that is its root file system.
    #[serde(default)]
    pub snapshot_key: String,
    /// The sandbox that it belongs to.
    #[serde(default)]
    pub sandbox: String,
    /// What clients keep beside it.
    #[serde(default)]
    pub extensions: BTreeMap<String, Any>,
    /// When it was made.
    pub created: SystemTime,
    /// When it was changed last.
    pub updated: SystemTime,
}

/// A sandbox: a group of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its name.
    pub id: String,
    /// Its runtime.
    pub runtime: Runtime,
    /// What the sandboxer needs.
    #[serde(default)]
    pub spec: Option<Any>,
    /// Free labels.
    #[serde(default)]
    pub labels: Labels,
    /// What clients keep beside it.
    #[serde(default)]
    pub extensions: BTreeMap<String, Any>,
    /// Who runs it.
    #[serde(default)]
    pub sandboxer: String,
    /// When it was made.
    pub created: SystemTime,
    /// When it was changed last.
    pub updated: SystemTime,
}
