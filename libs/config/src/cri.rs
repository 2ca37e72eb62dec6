//! `[cri]`: the part of the service that kubelets call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, HumanDuration};

/// How many categories pods' levels may be of: a level takes two, and policies have no more.
const CATEGORIES: std::ops::RangeInclusive<u32> = 2..=1024;

/// `[cri]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cri {
    /// Whether the node serves kubelets.
    pub enabled: bool,
    /// What containers' root file systems are made by.
    pub snapshotter: String,
    /// The handler of pods that name none.
    pub default_runtime_name: String,
    /// Whether pods may listen on ports below 1024 without a capability.
    pub enable_unprivileged_ports: bool,
    /// Whether pods may ping without a capability.
    pub enable_unprivileged_icmp: bool,
    /// Whether no process is made less likely to be killed for want of memory than the service itself is.
    pub restrict_oom_score_adj: bool,
    /// Where clients of commands' streams and of pods' ports come, `HOST:PORT`; port 0 is a free one.
    pub stream_address: String,
    /// How long such a client may be silent.
    pub stream_idle_timeout: HumanDuration,
    /// How long a pull may go on without anything coming; 0: for ever.
    pub image_pull_progress_timeout: HumanDuration,
    /// Names of images that kubelets are told to leave where they are.
    pub pinned_images: Vec<String>,
    /// Whether volumes that images declare are left out.
    pub ignore_image_defined_volumes: bool,
    /// Whether containers may ask for devices of vendors (CDI).
    pub enable_cdi: bool,
    /// Folders with what such devices are, a later one before those above it.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// The image of pods' own processes, pulled where it is missing; empty: a program that berth brings, without an image.
    pub sandbox_image: String,
    /// Whether labels of SELinux are made where the kernel has it; else what asks for one is refused.
    pub enable_selinux: bool,
    /// Pods' levels are pairs of categories below this, 2 to 1024.
    pub selinux_category_range: u32,
    /// What pods are run by, by the name that they ask for (RuntimeClass).
    pub runtimes: BTreeMap<String, Handler>,
}

/// `[cri.runtimes.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Handler {
    /// The shim, as records of containers name it.
    pub runtime_type: String,
    /// The program that the shim calls. Empty: the node's.
    pub binary: PathBuf,
    /// Whether control groups are made by systemd.
    pub systemd_cgroup: bool,
    /// Which annotations of a pod its processes' specifications get: patterns of names.
    pub pod_annotations: Vec<String>,
    /// The same of a container's.
    pub container_annotations: Vec<String>,
    /// Whether privileged containers go without the machine's devices.
    pub privileged_without_host_devices: bool,
}

impl Default for Cri {
    fn default() -> Self {
        Self {
            enabled: false,
            snapshotter: "overlayfs".into(),
            default_runtime_name: "runc".into(),
            enable_unprivileged_ports: true,
            enable_unprivileged_icmp: true,
            restrict_oom_score_adj: false,
            stream_address: "127.0.0.1:0".into(),
            stream_idle_timeout: HumanDuration::secs(4 * 60 * 60),
            image_pull_progress_timeout: HumanDuration::secs(300),
            pinned_images: Vec::new(),
            ignore_image_defined_volumes: false,
            enable_cdi: true,
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            sandbox_image: String::new(),
            enable_selinux: true,
            selinux_category_range: 1024,
            runtimes: [("runc".to_owned(), Handler::default())].into(),
        }
    }
}

impl Default for Handler {
    fn default() -> Self {
        Self {
            runtime_type: "io.containerd.runc.v2".into(),
            binary: PathBuf::new(),
            systemd_cgroup: false,
            pod_annotations: Vec::new(),
            container_annotations: Vec::new(),
            privileged_without_host_devices: false,
        }
    }
}

impl Cri {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let value = || self.default_runtime_name.clone();
        if !self.runtimes.contains_key(&self.default_runtime_name) {
            let rule = "the name of one of [cri.runtimes]";
            return Err(Error::Value {
                key: "cri.default_runtime_name".into(),
                value: value(),
                rule,
            });
        }
        if !CATEGORIES.contains(&self.selinux_category_range) {
            let rule = "2 to 1024";
            let value = self.selinux_category_range.to_string();
            return Err(Error::Value { key: "cri.selinux_category_range".into(), value, rule });
        }
        Ok(())
    }
}
