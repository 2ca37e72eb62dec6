//! What specs depend on beside the request: what the node found out, and how it is configured.

use std::path::PathBuf;

use berth_runtime_spec::{ImageConfig, Spec};

use crate::{Node, cri};

/// What the configuration says for all runtimes (`io.containerd.cri.v1.runtime`). The default is
/// containerd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `disable_apparmor`.
    pub disable_apparmor: bool,
    /// `restrict_oom_score_adj`: no score below our own.
    pub restrict_oom_score_adj: bool,
    /// `disable_proc_mount`: the masked and read-only paths are the defaults, not the request's.
    pub disable_proc_mount: bool,
    /// `unset_seccomp_profile`: what a request without any profile means.
    pub unset_seccomp_profile: String,
    /// `tolerate_missing_hugetlb_controller`.
    pub tolerate_missing_hugetlb_controller: bool,
    /// `disable_hugetlb_controller`.
    pub disable_hugetlb_controller: bool,
    /// `device_ownership_from_security_context`.
    pub device_ownership_from_security_context: bool,
    /// `enable_unprivileged_ports`.
    pub enable_unprivileged_ports: bool,
    /// `enable_unprivileged_icmp`.
    pub enable_unprivileged_icmp: bool,
    /// `enable_cdi`.
    pub enable_cdi: bool,
    /// `cdi_spec_dirs`: a later one counts before those above it.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// `ignore_blockio_not_enabled_errors`.
    pub ignore_blockio: bool,
    /// `ignore_rdt_not_enabled_errors`.
    pub ignore_rdt: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            disable_apparmor: false,
            restrict_oom_score_adj: false,
            disable_proc_mount: false,
            unset_seccomp_profile: String::new(),
            tolerate_missing_hugetlb_controller: true,
            disable_hugetlb_controller: true,
            device_ownership_from_security_context: false,
            enable_unprivileged_ports: true,
            enable_unprivileged_icmp: true,
            enable_cdi: true,
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            ignore_blockio: false,
            ignore_rdt: false,
        }
    }
}

/// One runtime handler: its part of the configuration, and what it was found to be able to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handler {
    /// Patterns of the pod's annotations that are handed on.
    pub pod_annotations: Vec<String>,
    /// Patterns of a container's annotations that are handed on.
    pub container_annotations: Vec<String>,
    /// Privileged containers get none of the node's devices.
    pub privileged_without_host_devices: bool,
    /// But may use what devices they make themselves.
    pub privileged_without_host_devices_all_devices_allowed: bool,
    /// Containers may write to their control groups (hierarchy version 2 alone).
    pub cgroup_writable: bool,
    /// What containers' specs begin with, read from `base_runtime_spec`.
    pub base: Option<Spec>,
    /// Whether it can make whole trees of mounts read-only.
    pub recursive_read_only: bool,
    /// Whether it was said to honour `mount_options`.
    pub mount_options: bool,
}

/// Labels of SELinux that the node chose for a pod, or that a container begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelinuxLabels {
    /// Of processes: `user:role:type:level`.
    pub process: String,
    /// Of files.
    pub mount: String,
}

/// What there is of SELinux for a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selinux {
    /// No labels, for this reason, which is told to who asks for one.
    Off(String),
    /// The labels to begin with.
    On(SelinuxLabels),
}

impl Default for Selinux {
    fn default() -> Self {
        Self::Off("the kernel has it off".to_owned())
    }
}

/// What the spec of a pod's own process depends on.
#[derive(Clone, Debug)]
pub struct PodFacts<'a> {
    /// The pod's id.
    pub id: &'a str,
    /// The program: ours, or that of a pause image.
    pub image: &'a ImageConfig,
    /// The image's name; empty for our own program, which has none.
    pub image_name: &'a str,
    /// Where the program's files are: an absolute folder, or `rootfs` in the bundle.
    pub root: PathBuf,
    /// The pod's network namespace; not looked at in the node's network. None: a new one.
    pub netns: Option<PathBuf>,
    /// The user namespace that owns it, where there is one.
    pub userns: Option<PathBuf>,
    /// The pod's /dev/shm; not looked at where it shares the node's.
    pub shm: PathBuf,
    /// The pod's resolv.conf.
    pub resolv_conf: PathBuf,
    /// The labels to begin with, at the pod's level.
    pub selinux: Selinux,
    /// The pod's runtime handler.
    pub handler: &'a Handler,
    /// The configuration.
    pub settings: &'a Settings,
    /// The node.
    pub node: &'a Node,
}

/// The files of a pod that its containers see. What is missing is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFiles {
    /// `/etc/hostname`.
    pub hostname: PathBuf,
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// `/dev/shm`, of pods that do not share the node's.
    pub shm: PathBuf,
}

/// What a container's spec depends on.
#[derive(Clone, Debug)]
pub struct ContainerFacts<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The pod's id.
    pub pod_id: &'a str,
    /// The pod's own process, whose namespaces the container joins.
    pub pod_pid: u32,
    /// The process of the container that TARGET means, once it was found to be running and of the
    /// same pod.
    pub target_pid: Option<u32>,
    /// The image's configuration.
    pub image: &'a ImageConfig,
    /// The image's resolved reference.
    pub image_name: &'a str,
    /// The pod's files.
    pub files: &'a PodFiles,
    /// Folders for the image's volumes. They never take the place of anything else.
    pub volumes: &'a [cri::Mount],
    /// The labels to begin with, at the pod's level.
    pub selinux: Selinux,
    /// The label of the pod's processes.
    pub pod_label: &'a str,
    /// The pod's runtime handler.
    pub handler: &'a Handler,
    /// The configuration.
    pub settings: &'a Settings,
    /// The node.
    pub node: &'a Node,
}
