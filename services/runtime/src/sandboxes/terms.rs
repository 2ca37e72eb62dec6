//! What a sandbox is made with and what is told of it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use berth_ids::Labels;
use berth_mount::Mount;

use crate::records::Any;
use crate::shims::Bootstrap;

/// What is said of the state of a sandbox that runs.
pub(super) const READY: &str = "SANDBOX_READY";

/// What a sandbox is made with, beside its record.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// What its root file system is mounted from. Its shim mounts it.
    pub rootfs: Vec<Mount>,
    /// What its shim is told, such as a pod's configuration.
    pub options: Option<Any>,
    /// The network namespace that is its own; empty: none.
    pub netns_path: String,
    /// Free annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A sandbox that was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Its process.
    pub pid: u32,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// What its controller has to say besides.
    pub labels: Labels,
    /// Its specification, if its shim has one.
    pub spec: Option<Any>,
}

/// Where a sandbox's shim answers, as its controller says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `PROTOCOL+unix://PATH`; empty: nobody can join it.
    pub address: String,
    /// The version of the task service there.
    pub version: u32,
}

impl Endpoint {
    /// That of a shim which is known here.
    #[allow(clippy::needless_pass_by_value, reason = "for Option::map")]
    pub(crate) fn of(shim: Bootstrap) -> Self {
        Self { address: shim.endpoint(), version: shim.version }
    }
}

/// What the containers of a sandbox run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor's.
    pub architecture: String,
    /// Its variant.
    pub variant: String,
}

/// How a sandbox is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub id: String,
    /// Its process.
    pub pid: u32,
    /// Its shim's word for it, such as `SANDBOX_READY`.
    pub state: String,
    /// Details, when they were asked for.
    pub info: BTreeMap<String, String>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it ended.
    pub exited: Option<SystemTime>,
    /// What its shim has to say besides.
    pub extra: Option<Any>,
}

/// What a sandbox uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// When it was measured.
    pub at: Option<SystemTime>,
    /// What was measured.
    pub id: String,
    /// The figures.
    pub data: Option<Any>,
}
