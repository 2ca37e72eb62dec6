//! What a caller may ask of a container, beside what its image says.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything about one container that is not in its image. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The namespace that the container is in; part of its cgroup path.
    pub namespace: String,
    /// The container's id; the last part of its cgroup path.
    pub id: String,
    /// Replaces the image's command when not empty.
    pub args: Vec<String>,
    /// Replaces the image's entrypoint, and then the image's command does not apply.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE` each; these win over the image's. A bare `NAME` removes the variable.
    pub env: Vec<String>,
    /// Replaces the image's working directory.
    pub cwd: Option<String>,
    /// Replaces the image's user: `NAME|UID[:GROUP|GID]`.
    pub user: Option<String>,
    /// Whether the program gets a terminal.
    pub terminal: bool,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// All capabilities and devices, nothing masked, no seccomp.
    pub privileged: bool,
    /// Whether set-user-id programs may gain what their file gives them.
    pub allow_new_privileges: bool,
    /// No seccomp profile.
    pub seccomp_unconfined: bool,
    /// The name that the container sees as its host's.
    pub hostname: Option<String>,
    /// The network that the container is in.
    pub network: Network,
    /// Bind mounts, in order, after the default mounts.
    pub binds: Vec<BindMount>,
    /// Temporary file systems, after the default mounts and before the binds.
    pub tmpfs: Vec<TmpfsMount>,
    /// Capabilities to add, with or without `CAP_`; `ALL` is every one that we have ourselves.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, with or without `CAP_`; `ALL` is every one.
    pub cap_drop: Vec<String>,
    /// Host devices to pass on.
    pub devices: Vec<DeviceRequest>,
    /// Limits on resources.
    pub limits: Limits,
    /// Annotations of the spec.
    pub annotations: BTreeMap<String, String>,
    /// Replaces `/NAMESPACE/ID`.
    pub cgroups_path: Option<PathBuf>,
    /// Whether the container gets its own cgroup namespace (sensible on cgroup v2).
    pub private_cgroup: bool,
}

/// The network that a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's own.
    Host,
    /// A new one, with nothing in it but a loopback device.
    #[default]
    Private,
    /// An existing one, by the path of its namespace.
    Path(PathBuf),
}

/// A host's file or directory, visible in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the container.
    pub target: PathBuf,
    /// Whether the container may not write there.
    pub read_only: bool,
    /// `rprivate`, `rshared`, `rslave` or without the r; empty is `rprivate`.
    pub propagation: String,
}

/// A temporary file system in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsMount {
    /// The path in the container.
    pub target: PathBuf,
    /// Mount options such as `size=64m`, added to `nosuid,nodev,noexec`.
    pub options: Vec<String>,
}

/// A host's device, passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRequest {
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the container.
    pub target: PathBuf,
    /// Some of `rwm`.
    pub access: String,
}

/// Limits on a container's resources; what is absent is unlimited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// How many processors' worth of time.
    pub cpus: Option<f64>,
    /// The relative weight of processor time.
    pub cpu_shares: Option<u64>,
    /// The processors that may be used, such as `0-1,3`.
    pub cpuset: Option<String>,
    /// How many processes and threads.
    pub pids: Option<i64>,
}
