//! What can be wrong with a request for a pod or a container.

use std::path::PathBuf;

use berth_errors::{Code, Coded};

/// A spec that cannot be made. The words are containerd's where it has any, and so are the codes:
/// most refusals are UNKNOWN there, and clients know them so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pod without a name.
    #[error("sandbox config must include metadata")]
    NoPodMetadata,
    /// A container without a name.
    #[error("container config must include metadata")]
    NoContainerMetadata,
    /// A container whose pod has no name.
    #[error("pod sandbox config must include metadata")]
    NoMetadataOfPod,
    /// A stop signal that the CRI does not have.
    #[error("unknown CRI stop signal {0}: invalid argument")]
    UnknownStopSignal(i32),
    /// A stop signal of an image that is none.
    #[error("failed to parse stop signal {0:?}: unknown signal {0:?}")]
    ParseStopSignal(String),
    /// Neither image nor request name a program.
    #[error("no command specified")]
    NoCommand,
    /// A pod's own process without a program.
    #[error("invalid empty entrypoint and cmd in image config of {0:?}")]
    NoPodCommand(String),
    /// A privileged container in a pod that is not.
    #[error("no privileged container allowed in sandbox")]
    NotPrivileged,
    /// A user namespace that cannot be.
    #[error("user namespace configuration: {0}")]
    UserNamespace(String),
    /// A container asks for another user namespace than its pod has.
    #[error(
        "user namespace config for sandbox is different from container. Sandbox userns config: {pod} - Container userns config: {container}"
    )]
    UserNamespaceDiffers {
        /// The pod's.
        pod: String,
        /// The container's.
        container: String,
    },
    /// The container whose processes are to be seen is not known to be running.
    #[error("invalid target container: container {0:?} is not running")]
    NoTarget(String),
    /// A mount that cannot be.
    #[error(transparent)]
    Mount(#[from] MountFault),
    /// A path that was given as a device and is none.
    #[error("get device path: {path:?} containerPath: {container:?} error: not a device node")]
    NotADevice {
        /// On the node.
        path: PathBuf,
        /// In the container.
        container: String,
    },
    /// A link to a device leads nowhere.
    #[error("failed to resolve symlink {0:?}")]
    ResolveDevice(PathBuf, #[source] std::io::Error),
    /// A device of a vendor that is asked for by no name of one.
    #[error("failed to parse CDI device annotations: invalid CDI device name {0:?}")]
    CdiName(String),
    /// Devices of vendors are turned off.
    #[error("CDI devices ({0}) requested but CDI support is explicitly disabled")]
    CdiDisabled(String),
    /// Devices of vendors that nothing here describes, or not as they are.
    #[error("CDI device injection failed")]
    Cdi(#[from] berth_cdi::Error),
    /// A class of processor caches or of block devices, which are not provided.
    #[error(
        "{what} disabled, refusing to set {what} class of container {container:?} to {class:?}"
    )]
    Class {
        /// `RDT` or `blockio`.
        what: &'static str,
        /// The container's name.
        container: String,
        /// The class.
        class: String,
    },
    /// A profile of seccomp or AppArmor that cannot be.
    #[error(transparent)]
    Profile(#[from] ProfileFault),
    /// A level of SELinux that is none.
    #[error("the format of 'level' {0:?} is not correct")]
    SelinuxLevel(String),
    /// A user, role or type of SELinux that is none.
    #[error("the format of '{part}' {value:?} is not correct")]
    SelinuxPart {
        /// Which of them.
        part: &'static str,
        /// What was asked for.
        value: String,
    },
    /// SELinux is off, or the configuration does not let it be used.
    #[error("selinux is not supported: {0}")]
    NoSelinux(String),
    /// A group was given and no user.
    #[error("user group \"{0}\" is specified without user")]
    GroupWithoutUser(i64),
    /// A user that is none.
    #[error("invalid USER value {0}")]
    MalformedUser(String),
    /// A number of a user or group that the runtime does not take.
    #[error("invalid USER value {user:?}: {kind} out of range")]
    IdOutOfRange {
        /// The user as it was given.
        user: String,
        /// `uid` or `gid`.
        kind: &'static str,
    },
    /// The image has no user or group of this name.
    #[error("no {kind}s found: {name:?} is not in the image's {file}")]
    UnknownName {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A file of the image with users or groups is too large to read.
    #[error("{file:?} exceeds {most} bytes")]
    OversizedFile {
        /// The file.
        file: &'static str,
        /// How much is read.
        most: u64,
    },
    /// A policy for groups that is not known.
    #[error("not implemented in this containerd release: SupplementalGroupsPolicy={0}")]
    GroupsPolicy(i32),
    /// Limits of huge pages where the kernel cannot keep them.
    #[error(
        "huge pages limits are specified but hugetlb cgroup controller is missing. Please set tolerate_missing_hugetlb_controller to `true` to ignore this error"
    )]
    NoHugetlb,
    /// A number that nothing can take.
    #[error("{what} {value} is out of range: invalid argument")]
    OutOfRange {
        /// What it is of.
        what: &'static str,
        /// The number.
        value: i128,
    },
    /// More of something than is sensible.
    #[error("{count} {what} in one request, {most} are taken: resource exhausted")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are taken.
        most: usize,
    },
    /// What specs of any origin have in common.
    #[error(transparent)]
    Spec(berth_runtime_spec::Error),
    /// The node's mounts cannot be listed.
    #[error("list the node's mounts")]
    ListMounts(#[from] berth_mount::Error),
}

/// What can be wrong with a mount.
#[derive(Debug, thiserror::Error)]
pub enum MountFault {
    /// A place that is none, on either side.
    #[error("mount of {host:?} on {container:?}: both must be absolute paths: invalid argument")]
    Path {
        /// On the node.
        host: String,
        /// In the container.
        container: String,
    },
    /// The path on the node cannot be looked at.
    #[error("failed to stat {0:?}")]
    Stat(PathBuf, #[source] std::io::Error),
    /// The path on the node is missing and cannot be made.
    #[error("failed to mkdir {0:?}")]
    Make(PathBuf, #[source] std::io::Error),
    /// A link leads nowhere.
    #[error("failed to resolve symlink {0:?}")]
    Resolve(PathBuf, #[source] std::io::Error),
    /// What is mounted later is to be seen on both sides, but is not on the node's.
    #[error("path {path:?} is mounted on {at:?} but it is not a shared mount")]
    NotShared {
        /// On the node.
        path: PathBuf,
        /// The mount that it is in.
        at: PathBuf,
    },
    /// What is mounted later on the node cannot be seen.
    #[error("path {path:?} is mounted on {at:?} but it is not a shared or slave mount")]
    NotSharedOrSlave {
        /// On the node.
        path: PathBuf,
        /// The mount that it is in.
        at: PathBuf,
    },
    /// The runtime cannot make mounts below read-only.
    #[error(
        "RROUnsupported: runtime handler does not support recursive read-only mounts (hostPath={0:?})"
    )]
    NoRecursiveReadOnly(String),
    /// Mounts that come later would not be read-only.
    #[error(
        "recursive read-only mount needs private propagation, got {propagation:?} (hostPath={host:?})"
    )]
    Propagation {
        /// Its name on the wire.
        propagation: String,
        /// On the node.
        host: String,
    },
    /// Read-only below, but not itself.
    #[error("recursive read-only mount conflicts with RW mount (hostPath={0:?})")]
    Writable(String),
    /// What is at the path cannot be given the container's label.
    #[error("relabel {path:?} with {label:?} failed")]
    Relabel {
        /// On the node.
        path: PathBuf,
        /// The label.
        label: String,
        /// Why not.
        source: berth_selinux::Error,
    },
    /// More options, where the handler was not said to honour them, or one that changes what is
    /// mounted.
    #[error("mount option {option:?} is not supported (hostPath={host:?}): invalid argument")]
    Option {
        /// The first of them.
        option: String,
        /// On the node.
        host: String,
    },
}

/// What can be wrong with a profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileFault {
    /// The kernel has no such thing, or it was turned off.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A name is given beside a kind that has none.
    #[error("{0} config invalid LocalhostRef must only be set if ProfileType is Localhost")]
    NeedlessName(&'static str),
    /// A kind that the CRI does not have.
    #[error("{0} unknown ProfileType")]
    UnknownType(&'static str),
    /// An old kind of text that says nothing.
    #[error("invalid profile {0:?}")]
    Invalid(String),
    /// AppArmor does not have it.
    #[error("apparmor profile not found {0}")]
    NotLoaded(String),
    /// AppArmor does not say which it has.
    #[error("failed to generate apparmor spec opts")]
    List(#[source] std::io::Error),
    /// The file cannot be read.
    #[error("cannot load seccomp profile {0:?}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is no profile.
    #[error("decoding seccomp profile failed {0:?}")]
    Decode(PathBuf, #[source] serde_json::Error),
}

impl From<berth_runtime_spec::Error> for Error {
    fn from(error: berth_runtime_spec::Error) -> Self {
        use berth_runtime_spec::Error as Of;
        match error {
            Of::MalformedUser(user) => Error::MalformedUser(user),
            Of::IdOutOfRange { user, kind } => Error::IdOutOfRange { user, kind },
            Of::UnknownName { kind, name, file } => Error::UnknownName { kind, name, file },
            Of::OversizedFile(file, most) => Error::OversizedFile { file, most },
            other => Error::Spec(other),
        }
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::UnknownStopSignal(_)
            | Error::OutOfRange { .. }
            | Error::Mount(MountFault::Path { .. } | MountFault::Option { .. }) => {
                Code::InvalidArgument
            }
            Error::TooMany { .. } => Code::ResourceExhausted,
            Error::Spec(error) => error.code(),
            Error::NoPodMetadata
            | Error::NoContainerMetadata
            | Error::NoMetadataOfPod
            | Error::ParseStopSignal(_)
            | Error::NoCommand
            | Error::NoPodCommand(_)
            | Error::NotPrivileged
            | Error::UserNamespace(_)
            | Error::UserNamespaceDiffers { .. }
            | Error::NoTarget(_)
            | Error::Mount(_)
            | Error::NotADevice { .. }
            | Error::ResolveDevice(..)
            | Error::CdiName(_)
            | Error::CdiDisabled(_)
            | Error::Cdi(_)
            | Error::Class { .. }
            | Error::Profile(_)
            | Error::SelinuxLevel(_)
            | Error::SelinuxPart { .. }
            | Error::NoSelinux(_)
            | Error::GroupWithoutUser(_)
            | Error::MalformedUser(_)
            | Error::IdOutOfRange { .. }
            | Error::UnknownName { .. }
            | Error::OversizedFile { .. }
            | Error::GroupsPolicy(_)
            | Error::NoHugetlb
            | Error::ListMounts(_) => Code::Unknown,
        }
    }
}

/// Refuses more of something than is sensible.
pub(crate) fn bounded(what: &'static str, count: usize, most: usize) -> Result<(), Error> {
    if count > most { Err(Error::TooMany { what, count, most }) } else { Ok(()) }
}
