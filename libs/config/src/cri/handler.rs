//! `[cri.runtimes.NAME]`: what pods are run by.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;

/// `[cri.runtimes.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Handler {
    /// The shim, as records of containers name it.
    pub runtime_type: String,
    /// What containers' root file systems are made by. Empty: as `snapshotter` of `[cri]`.
    pub snapshotter: String,
    /// A file (JSON) that the specifications of containers begin with. Empty: berth's own beginning.
    pub base_runtime_spec: PathBuf,
    /// Configurations of the networks of its pods, in place of those of `[network]`. Empty: those.
    pub cni_conf_dir: PathBuf,
    /// How many files of it count; 0: as many as of the other.
    pub cni_max_conf_num: usize,
    /// Which annotations of a pod its processes' specifications get: patterns of names.
    pub pod_annotations: Vec<String>,
    /// The same of a container's.
    pub container_annotations: Vec<String>,
    /// Whether privileged containers go without the machine's devices.
    pub privileged_without_host_devices: bool,
    /// Whether they may use any that they make themselves.
    pub privileged_without_host_devices_all_devices_allowed: bool,
    /// Whether containers may write to their control groups, of which there is version 2 alone.
    pub cgroup_writable: bool,
    /// The program that the shim calls. Empty: the node's.
    pub binary: PathBuf,
    /// Where that keeps what it knows. Empty: the node's.
    pub binary_root: PathBuf,
    /// Whether control groups are made by systemd.
    pub systemd_cgroup: bool,
    /// Whether containers are in the session's keyring of the shim, not in one of their own.
    pub no_new_keyring: bool,
    /// The control group of the shim. Empty: that of the service.
    pub shim_cgroup: String,
    /// Who owns the pipes of containers' streams.
    pub io_uid: u32,
    /// The group of these.
    pub io_gid: u32,
    /// Of a shim that is none of runc: what its options are, as it names them itself.
    pub options_type: String,
    /// Of such a shim: the file with them.
    pub options_path: PathBuf,
    /// Of such a shim: they themselves.
    pub options_body: String,
}

impl Default for Handler {
    fn default() -> Self {
        Self {
            runtime_type: "io.containerd.runc.v2".into(),
            snapshotter: String::new(),
            base_runtime_spec: PathBuf::new(),
            cni_conf_dir: PathBuf::new(),
            cni_max_conf_num: 0,
            pod_annotations: Vec::new(),
            container_annotations: Vec::new(),
            privileged_without_host_devices: false,
            privileged_without_host_devices_all_devices_allowed: false,
            cgroup_writable: false,
            binary: PathBuf::new(),
            binary_root: PathBuf::new(),
            systemd_cgroup: false,
            no_new_keyring: false,
            shim_cgroup: String::new(),
            io_uid: 0,
            io_gid: 0,
            options_type: String::new(),
            options_path: PathBuf::new(),
            options_body: String::new(),
        }
    }
}

impl Handler {
    /// Whether its shim is one of runc, or takes runc's options.
    #[must_use]
    pub fn is_runcs(&self) -> bool {
        self.runtime_type.is_empty() || self.runtime_type.starts_with("io.containerd.runc.")
    }

    /// Whether something is said in another shim's options.
    #[must_use]
    pub fn has_own_options(&self) -> bool {
        let Self { options_type, options_path, options_body, .. } = self;
        !options_type.is_empty() || !options_path.as_os_str().is_empty() || !options_body.is_empty()
    }

    pub(super) fn check(&self, name: &str) -> Result<(), Error> {
        let wrong = |key: &str, value: String, rule| {
            Err(Error::Value { key: format!("cri.runtimes.{name}.{key}"), value, rule })
        };
        let paths = [
            ("base_runtime_spec", &self.base_runtime_spec),
            ("cni_conf_dir", &self.cni_conf_dir),
            ("binary_root", &self.binary_root),
            ("options_path", &self.options_path),
        ];
        for (key, path) in paths {
            if !path.as_os_str().is_empty() && !path.is_absolute() {
                return wrong(key, path.display().to_string(), "an absolute path");
            }
        }
        if self.privileged_without_host_devices_all_devices_allowed
            && !self.privileged_without_host_devices
        {
            let key = "privileged_without_host_devices_all_devices_allowed";
            let rule = "false unless privileged_without_host_devices is true";
            return wrong(key, "true".to_owned(), rule);
        }
        if self.has_own_options() && self.is_runcs() {
            let rule = "that of a shim which is none of runc where options_type, options_path or options_body are set";
            return wrong("runtime_type", self.runtime_type.clone(), rule);
        }
        Ok(())
    }
}
