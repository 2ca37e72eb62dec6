//! containerd's defaults: what a container has that neither image nor options speak of.

use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxNamespace, LinuxNamespaceType, Mount, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
};

/// The environment of a program whose image has none.
pub(crate) const PATH_ENV: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The version of the runtime spec whose fields are used.
pub(crate) const SPEC_VERSION: &str = "1.0.2";

/// Kernel files that a container must not see.
pub(crate) const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];

/// Kernel files that a container may only read.
pub(crate) const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Destination, type, source and options of the default mounts, in order.
const MOUNTS: [(&str, &str, &str, &[&str]); 8] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/run", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
];

/// The default mounts; a privileged container may write to what is read-only for others.
pub(crate) fn mounts(privileged: bool) -> Vec<Mount> {
    let option = |option: &str| {
        if privileged && option == "ro" { "rw".to_owned() } else { option.to_owned() }
    };
    MOUNTS
        .iter()
        .map(|(destination, kind, source, options)| {
            mount(*destination, kind, *source, options.iter().map(|text| option(text)))
        })
        .collect()
}

/// One mount of a spec.
pub(crate) fn mount(
    destination: impl Into<PathBuf>,
    kind: &str,
    source: impl Into<PathBuf>,
    options: impl IntoIterator<Item = String>,
) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.into_iter().collect()));
    mount
}

/// The default namespaces, without network and cgroup, which the caller decides on.
pub(crate) fn namespaces() -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as Kind;
    [Kind::Pid, Kind::Ipc, Kind::Uts, Kind::Mount].map(namespace).into()
}

/// A new namespace of one kind.
pub(crate) fn namespace(kind: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    namespace
}

/// The default limits of a process.
pub(crate) fn rlimits() -> Vec<PosixRlimit> {
    let files = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile);
    let files = files.hard(1024_u64).soft(1024_u64).build();
    vec![files.expect("every field of a limit has a default")]
}
