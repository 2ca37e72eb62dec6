//! What becomes of each key of the CRI's tables that is one by itself.

use super::values::Kind;
use super::{IMAGES, PLUGIN, RUNTIME};

/// A key, or a table of which all has the same fate.
pub(super) struct Key {
    pub(super) table: &'static str,
    pub(super) path: &'static [&'static str],
    pub(super) fate: Fate,
}

/// What becomes of a value that is not containerd's own.
pub(super) enum Fate {
    /// It is this key of ours.
    To(&'static [&'static str], Kind),
    /// It means nothing here, for this reason.
    Nothing(&'static str),
    /// Somebody would miss it: it is refused, and this is to be done.
    Refused(&'static str),
}

use Fate::{Nothing, Refused, To};

const fn images(path: &'static [&'static str], fate: Fate) -> Key {
    Key { table: IMAGES, path, fate }
}

const fn runtime(path: &'static [&'static str], fate: Fate) -> Key {
    Key { table: RUNTIME, path, fate }
}

const fn server(path: &'static [&'static str], fate: Fate) -> Key {
    Key { table: PLUGIN, path, fate }
}

const AS_THEY_ARE: &str = "figures are read when they are asked for";
const SYNCED: &str = "layers are always synced";
const NAMED: &str = "name the handler in runtimes, and write it there";

/// All of them.
pub(super) const KEYS: &[Key] = &[
    images(&["snapshotter"], To(&["cri", "snapshotter"], Kind::Text)),
    images(
        &["image_pull_progress_timeout"],
        To(&["cri", "image_pull_progress_timeout"], Kind::Time),
    ),
    images(
        &["max_concurrent_downloads"],
        To(&["distribution", "registry", "max_concurrent_downloads"], Kind::Number),
    ),
    images(
        &["disable_snapshot_annotations"],
        Nothing("proxy_plugins say by their exports whether they are told of images"),
    ),
    images(&["discard_unpacked_layers"], Nothing("layers stay for as long as their image does")),
    images(&["concurrent_layer_fetch_buffer"], Nothing("a layer comes over one connection")),
    images(&["image_pull_with_sync_fs"], Nothing(SYNCED)),
    images(&["stats_collect_period"], Nothing(AS_THEY_ARE)),
    images(&["use_local_image_pull"], Nothing("there is one way to pull")),
    images(&["image_decryption"], Nothing("layers are decrypted by stream_processors")),
    runtime(&["enable_selinux"], To(&["cri", "enable_selinux"], Kind::Flag)),
    runtime(&["selinux_category_range"], To(&["cri", "selinux_category_range"], Kind::Number)),
    runtime(
        &["max_container_log_line_size"],
        To(&["cri", "max_container_log_line_size"], Kind::Number),
    ),
    runtime(&["disable_apparmor"], To(&["cri", "disable_apparmor"], Kind::Flag)),
    runtime(&["restrict_oom_score_adj"], To(&["cri", "restrict_oom_score_adj"], Kind::Flag)),
    runtime(&["disable_proc_mount"], To(&["cri", "disable_proc_mount"], Kind::Flag)),
    runtime(&["unset_seccomp_profile"], To(&["cri", "unset_seccomp_profile"], Kind::Text)),
    runtime(
        &["tolerate_missing_hugetlb_controller"],
        To(&["cri", "tolerate_missing_hugetlb_controller"], Kind::Flag),
    ),
    runtime(
        &["disable_hugetlb_controller"],
        To(&["cri", "disable_hugetlb_controller"], Kind::Flag),
    ),
    runtime(
        &["device_ownership_from_security_context"],
        To(&["cri", "device_ownership_from_security_context"], Kind::Flag),
    ),
    runtime(&["enable_unprivileged_ports"], To(&["cri", "enable_unprivileged_ports"], Kind::Flag)),
    runtime(&["enable_unprivileged_icmp"], To(&["cri", "enable_unprivileged_icmp"], Kind::Flag)),
    runtime(
        &["drain_exec_sync_io_timeout"],
        To(&["cri", "drain_exec_sync_io_timeout"], Kind::Time),
    ),
    runtime(&["enable_cdi"], To(&["cri", "enable_cdi"], Kind::Flag)),
    runtime(&["cdi_spec_dirs"], To(&["cri", "cdi_spec_dirs"], Kind::Texts)),
    runtime(
        &["ignore_image_defined_volumes"],
        To(&["cri", "ignore_image_defined_volumes"], Kind::Flag),
    ),
    runtime(
        &["netns_mounts_under_state_dir"],
        Nothing("network namespaces are always in the state folder"),
    ),
    runtime(&["ignore_deprecation_warnings"], Nothing("there are none of containerd's warnings")),
    runtime(&["stats_collect_period"], Nothing(AS_THEY_ARE)),
    runtime(&["stats_retention_period"], Nothing(AS_THEY_ARE)),
    runtime(&["enable_criu"], Nothing("criu is used where it is installed")),
    runtime(
        &["disable_cgroup"],
        Refused("containers always have control groups: set it to false, or leave it out"),
    ),
    runtime(
        &["systemd_cgroup"],
        Refused("it is said of each handler: write SystemdCgroup = true into its options"),
    ),
    runtime(
        &["containerd", "default_runtime_name"],
        To(&["cri", "default_runtime_name"], Kind::Text),
    ),
    runtime(
        &["containerd", "ignore_blockio_not_enabled_errors"],
        To(&["cri", "ignore_blockio_not_enabled_errors"], Kind::Flag),
    ),
    runtime(
        &["containerd", "ignore_rdt_not_enabled_errors"],
        To(&["cri", "ignore_rdt_not_enabled_errors"], Kind::Flag),
    ),
    runtime(&["containerd", "no_pivot"], Refused("root file systems are always pivoted to")),
    runtime(&["containerd", "default_runtime"], Refused(NAMED)),
    runtime(&["containerd", "untrusted_workload_runtime"], Refused(NAMED)),
    runtime(&["cni", "bin_dirs"], To(&["network", "bin_dirs"], Kind::Texts)),
    runtime(&["cni", "conf_dir"], To(&["network", "conf_dir"], Kind::Text)),
    runtime(&["cni", "max_conf_num"], To(&["network", "max_conf_num"], Kind::Number)),
    runtime(&["cni", "ip_pref"], To(&["cri", "ip_pref"], Kind::Text)),
    runtime(&["cni", "setup_serially"], Nothing("networks are always attached one after another")),
    runtime(
        &["cni", "use_internal_loopback"],
        Nothing("the loopback device is always set up without a plugin"),
    ),
    runtime(
        &["cni", "conf_template"],
        Nothing("who brings the cluster's network writes its configuration into conf_dir"),
    ),
    server(
        &["disable_tcp_service"],
        Nothing("the CRI is served at the clients' socket, and where [gateway.tcp] says"),
    ),
    server(&["stream_idle_timeout"], To(&["cri", "stream_idle_timeout"], Kind::Time)),
    server(&["enable_tls_streaming"], To(&["cri", "enable_tls_streaming"], Kind::Flag)),
    server(
        &["x509_key_pair_streaming", "tls_cert_file"],
        To(&["cri", "stream_tls_cert"], Kind::Text),
    ),
    server(
        &["x509_key_pair_streaming", "tls_key_file"],
        To(&["cri", "stream_tls_key"], Kind::Text),
    ),
];
