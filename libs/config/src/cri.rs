//! `[cri]`: the part of the service that kubelets call.

mod handler;
mod login;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use handler::Handler;
pub use login::{Login, Secret};

use crate::{Error, HumanDuration};

/// How many categories pods' levels may be of: a level takes two, and policies have no more.
const CATEGORIES: std::ops::RangeInclusive<u32> = 2..=1024;

/// `[cri]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
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
    /// Whether AppArmor is left alone: who asks for a profile is refused.
    pub disable_apparmor: bool,
    /// Whether the paths that are masked and read-only in containers are the usual ones, whatever kubelets say.
    pub disable_proc_mount: bool,
    /// The filter of system calls of a container that is asked for without one: `runtime/default`, `unconfined` or
    /// `localhost/PATH`. Empty: none.
    pub unset_seccomp_profile: String,
    /// Whether limits of huge pages are left out where the kernel has no controller of them.
    pub tolerate_missing_hugetlb_controller: bool,
    /// Whether they are always left out.
    pub disable_hugetlb_controller: bool,
    /// Whether devices belong to the user and group that a container is asked for with.
    pub device_ownership_from_security_context: bool,
    /// Whether classes of block devices' bandwidth are left out, which nothing here makes.
    pub ignore_blockio_not_enabled_errors: bool,
    /// The same of classes of caches (RDT).
    pub ignore_rdt_not_enabled_errors: bool,
    /// Which address of a pod is its first: `ipv4`, `ipv6`, or `cni` for the plugins' order.
    pub ip_pref: String,
    /// The longest line that is written whole into a log, in bytes; 0 and below: the longest that there may be.
    pub max_container_log_line_size: i64,
    /// How long outputs of a command that has ended are read on which others hold open; 0: until its caller leaves.
    pub drain_exec_sync_io_timeout: HumanDuration,
    /// Where clients of commands' streams and of pods' ports come, `HOST:PORT`; port 0 is a free one.
    pub stream_address: String,
    /// How long such a client may be silent.
    pub stream_idle_timeout: HumanDuration,
    /// Whether such clients are to come by TLS.
    pub enable_tls_streaming: bool,
    /// What they are shown (PEM), with what lies between it and its authority.
    pub stream_tls_cert: PathBuf,
    /// The key of that.
    pub stream_tls_key: PathBuf,
    /// How long a pull may go on without anything coming; 0: for ever.
    pub image_pull_progress_timeout: HumanDuration,
    /// Names of images that kubelets are told to leave where they are.
    pub pinned_images: Vec<String>,
    /// Whom images are pulled as from these registries, where a kubelet does not say it.
    pub logins: BTreeMap<String, Login>,
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

impl Default for Cri {
    fn default() -> Self {
        Self {
            enabled: false,
            snapshotter: "overlayfs".into(),
            default_runtime_name: "runc".into(),
            enable_unprivileged_ports: true,
            enable_unprivileged_icmp: true,
            restrict_oom_score_adj: false,
            disable_apparmor: false,
            disable_proc_mount: false,
            unset_seccomp_profile: String::new(),
            tolerate_missing_hugetlb_controller: true,
            disable_hugetlb_controller: true,
            device_ownership_from_security_context: false,
            ignore_blockio_not_enabled_errors: false,
            ignore_rdt_not_enabled_errors: false,
            ip_pref: "ipv4".into(),
            max_container_log_line_size: 16 << 10,
            drain_exec_sync_io_timeout: HumanDuration::secs(10),
            stream_address: "127.0.0.1:0".into(),
            stream_idle_timeout: HumanDuration::secs(4 * 60 * 60),
            enable_tls_streaming: false,
            stream_tls_cert: PathBuf::new(),
            stream_tls_key: PathBuf::new(),
            image_pull_progress_timeout: HumanDuration::secs(300),
            pinned_images: Vec::new(),
            logins: BTreeMap::new(),
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

impl Cri {
    /// All that root file systems are made by, the usual one among them.
    #[must_use]
    pub fn snapshotters(&self) -> Vec<&str> {
        let all = self.runtimes.keys().map(|name| self.snapshotter_of(name));
        let all: BTreeSet<_> = all.chain([&*self.snapshotter]).collect();
        all.into_iter().collect()
    }

    /// What the root file systems of containers are made by that this handler runs.
    #[must_use]
    pub fn snapshotter_of(&self, handler: &str) -> &str {
        let name = if handler.is_empty() { &self.default_runtime_name } else { handler };
        match self.runtimes.get(name) {
            Some(handler) if !handler.snapshotter.is_empty() => &handler.snapshotter,
            _ => &self.snapshotter,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |key: &str, value: &str, rule| {
            Err(Error::Value { key: format!("cri.{key}"), value: value.to_owned(), rule })
        };
        if !self.runtimes.contains_key(&self.default_runtime_name) {
            let rule = "the name of one of [cri.runtimes]";
            return wrong("default_runtime_name", &self.default_runtime_name, rule);
        }
        if self.snapshotter.is_empty() {
            return wrong("snapshotter", "", "the name of a snapshotter");
        }
        if !["ipv4", "ipv6", "cni"].contains(&&*self.ip_pref) {
            return wrong("ip_pref", &self.ip_pref, "\"ipv4\", \"ipv6\" or \"cni\"");
        }
        let profile = &*self.unset_seccomp_profile;
        let is_profile =
            matches!(profile, "" | "runtime/default" | "docker/default" | "unconfined")
                || profile.strip_prefix("localhost/").is_some_and(|path| path.starts_with('/'));
        if !is_profile {
            let rule =
                "\"runtime/default\", \"unconfined\" or \"localhost/\" with an absolute path";
            return wrong("unset_seccomp_profile", profile, rule);
        }
        self.check_tls()?;
        self.runtimes.iter().try_for_each(|(name, handler)| handler.check(name))
    }

    fn check_tls(&self) -> Result<(), Error> {
        for (key, path) in
            [("stream_tls_cert", &self.stream_tls_cert), ("stream_tls_key", &self.stream_tls_key)]
        {
            let is_set = !path.as_os_str().is_empty();
            let rule = match self.enable_tls_streaming {
                true if !is_set => "set where enable_tls_streaming is true",
                true if !path.is_absolute() => "an absolute path",
                false if is_set => "set with enable_tls_streaming = true alone",
                _ => continue,
            };
            let value = path.display().to_string();
            return Err(Error::Value { key: format!("cri.{key}"), value, rule });
        }
        if !CATEGORIES.contains(&self.selinux_category_range) {
            let rule = "2 to 1024";
            let value = self.selinux_category_range.to_string();
            return Err(Error::Value { key: "cri.selinux_category_range".into(), value, rule });
        }
        Ok(())
    }
}
