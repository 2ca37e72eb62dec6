//! A node.

use std::collections::BTreeMap;

use time::OffsetDateTime;

/// A node, as it shows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The root's own number.
    pub uuid: String,
    /// Another in each run of the process that publishes.
    pub incarnation: String,
    /// The machine's run, as the kernel tells it.
    pub boot: String,
    /// Where people and programs reach it.
    pub addresses: Vec<String>,
    /// Where it answers other nodes, `HOST:PORT`; empty: nowhere.
    pub peer_address: String,
    /// Of berth.
    pub version: String,
    /// As configured.
    pub labels: BTreeMap<String, String>,
    /// What the machine has.
    pub capacity: Capacity,
    /// Its services.
    pub services: Vec<ServiceHealth>,
    /// What the machine runs out of.
    pub pressure: Vec<Pressure>,
    /// Since when it is there without a gap.
    pub registered: Option<OffsetDateTime>,
    /// What is published of it.
    pub published: Published,
}

/// What a machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// That may be used.
    pub processors: u32,
    /// Bytes.
    pub memory_bytes: u64,
    /// Bytes of the file system of the root.
    pub disk_bytes: u64,
    /// As OCI calls it, `amd64`.
    pub architecture: String,
    /// Its release.
    pub kernel: String,
}

/// One service of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHealth {
    /// `distribution`, …
    pub name: String,
    /// It answers, and says that it can work.
    pub serves: bool,
    /// Why not, if it does not.
    pub reason: String,
}

/// What a machine can run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Space of the root's file system.
    Disk,
    /// Memory.
    Memory,
}

impl Resource {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Resource::Disk => "disk",
            Resource::Memory => "memory",
        }
    }
}

/// How much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Of what.
    pub resource: Resource,
    /// Less is left than should be.
    pub under_pressure: bool,
    /// Of what there is, in steps of 5.
    pub used_percent: u32,
}

/// How much of a node is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Images.
    pub images: u64,
    /// Containers.
    pub containers: u64,
    /// What could not be: beyond the bounds of a node, or with names that are too long.
    pub left_out: u64,
}
