//! What containerd's keys are called here, and which of them mean nothing here.

use std::time::Duration;

use toml::Value;

use super::duration::duration;

/// A key of containerd and the one of ours that it sets.
pub(super) struct Rule {
    pub(super) from: &'static [&'static str],
    pub(super) to: &'static [&'static str],
    pub(super) how: How,
}

/// How a value is written here.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// As there. An empty text is what was not set.
    Same,
    /// Go's way to write lengths of time is not quite ours.
    Duration,
    /// Folders with a colon between them, or as a list.
    Folders,
    /// The share of traces. 0 was not set, as containerd 2 has it; those of before wrote 1.
    Ratio,
    /// Whether it is not so.
    Not,
    /// Sizes of messages. What is not above 0 was not set; what is above our most is our most.
    Message,
}

const fn rule(from: &'static [&'static str], to: &'static [&'static str], how: How) -> Rule {
    Rule { from, to, how }
}

const GRPC: &str = "io.containerd.server.v1.grpc";
const METRICS: &str = "io.containerd.server.v1.metrics";
pub(super) const TCP: &str = "io.containerd.server.v1.grpc-tcp";
const TTRPC: &str = "io.containerd.server.v1.ttrpc";
const GC: &str = "io.containerd.gc.v1.scheduler";
const VERIFIER: &str = "io.containerd.image-verifier.v1.bindir";
const OVERLAYFS: &str = "io.containerd.snapshotter.v1.overlayfs";
const NATIVE: &str = "io.containerd.snapshotter.v1.native";
const BTRFS: &str = "io.containerd.snapshotter.v1.btrfs";
const BLOCKFILE: &str = "io.containerd.snapshotter.v1.blockfile";
const EROFS: &str = "io.containerd.snapshotter.v1.erofs";
const EROFS_DIFF: &str = "io.containerd.differ.v1.erofs";
const DIFF: &str = "io.containerd.service.v1.diff-service";
const RESTART: &str = "io.containerd.monitor.container.v1.restart";
const TRANSFER: &str = "io.containerd.transfer.v1.local";
const METADATA: &str = "io.containerd.metadata.v1.bolt";
const OPT: &str = "io.containerd.internal.v1.opt";
const SHIMS: &str = "io.containerd.shim.v1.manager";
const TRACING: &str = "io.containerd.internal.v1.tracing";
const CGROUPS: &str = "io.containerd.monitor.task.v1.cgroups";
pub(super) const OTLP: &str = "io.containerd.tracing.processor.v1.otlp";

#[expect(clippy::cast_possible_wrap, reason = "it is far below")]
const MOST_MESSAGE: i64 = crate::MAX_MESSAGE_SIZE as i64;

/// Every key that has one of ours.
pub(super) const RULES: &[Rule] = &[
    rule(&["root"], &["root"], How::Same),
    rule(&["state"], &["state"], How::Same),
    rule(&["debug", "level"], &["log", "level"], How::Same),
    rule(&["debug", "format"], &["log", "format"], How::Same),
    rule(&["plugins", GRPC, "address"], &["address"], How::Same),
    rule(&["plugins", GRPC, "uid"], &["gateway", "uid"], How::Same),
    rule(&["plugins", GRPC, "gid"], &["gateway", "gid"], How::Same),
    rule(&["plugins", TTRPC, "address"], &["runtime", "ttrpc_address"], How::Same),
    rule(&["plugins", TTRPC, "uid"], &["runtime", "ttrpc_uid"], How::Same),
    rule(&["plugins", TTRPC, "gid"], &["runtime", "ttrpc_gid"], How::Same),
    rule(&["plugins", TCP, "address"], &["gateway", "tcp", "address"], How::Same),
    rule(&["plugins", TCP, "tls_ca"], &["gateway", "tcp", "ca"], How::Same),
    rule(&["plugins", TCP, "tls_cert"], &["gateway", "tcp", "cert"], How::Same),
    rule(&["plugins", TCP, "tls_key"], &["gateway", "tcp", "key"], How::Same),
    rule(
        &["plugins", GRPC, "max_recv_message_size"],
        &["gateway", "max_recv_message_size"],
        How::Message,
    ),
    rule(
        &["plugins", GRPC, "max_send_message_size"],
        &["gateway", "max_send_message_size"],
        How::Message,
    ),
    rule(
        &["plugins", TCP, "max_recv_message_size"],
        &["gateway", "tcp", "max_recv_message_size"],
        How::Message,
    ),
    rule(
        &["plugins", TCP, "max_send_message_size"],
        &["gateway", "tcp", "max_send_message_size"],
        How::Message,
    ),
    rule(&["plugins", METRICS, "address"], &["metrics", "address"], How::Same),
    rule(&["oom_score"], &["oom_score"], How::Same),
    rule(&["disabled_plugins"], &["disabled_plugins"], How::Same),
    rule(&["required_plugins"], &["gateway", "required_plugins"], How::Same),
    rule(&["cgroup", "path"], &["cgroup"], How::Same),
    rule(&["plugins", OPT, "path"], &["opt"], How::Same),
    rule(&["plugins", SHIMS, "env"], &["runtime", "shim_env"], How::Same),
    rule(
        &["plugins", METADATA, "content_sharing_policy"],
        &["distribution", "content_sharing_policy"],
        How::Same,
    ),
    rule(
        &["plugins", GC, "startup_delay"],
        &["distribution", "gc", "startup_delay"],
        How::Duration,
    ),
    rule(
        &["plugins", GC, "schedule_delay"],
        &["distribution", "gc", "schedule_delay"],
        How::Duration,
    ),
    rule(
        &["plugins", GC, "pause_threshold"],
        &["distribution", "gc", "pause_threshold"],
        How::Same,
    ),
    rule(
        &["plugins", GC, "deletion_threshold"],
        &["distribution", "gc", "deletion_threshold"],
        How::Same,
    ),
    rule(
        &["plugins", GC, "mutation_threshold"],
        &["distribution", "gc", "mutation_threshold"],
        How::Same,
    ),
    rule(
        &["plugins", VERIFIER, "bin_dir"],
        &["distribution", "image_verifiers", "bin_dir"],
        How::Same,
    ),
    rule(
        &["plugins", VERIFIER, "max_verifiers"],
        &["distribution", "image_verifiers", "max_verifiers"],
        How::Same,
    ),
    rule(
        &["plugins", VERIFIER, "per_verifier_timeout"],
        &["distribution", "image_verifiers", "per_verifier_timeout"],
        How::Duration,
    ),
    rule(
        &["plugins", TRANSFER, "max_concurrent_downloads"],
        &["distribution", "registry", "max_concurrent_downloads"],
        How::Same,
    ),
    rule(
        &["plugins", TRANSFER, "max_concurrent_uploaded_layers"],
        &["distribution", "registry", "max_concurrent_uploads"],
        How::Same,
    ),
    rule(
        &["plugins", TRANSFER, "config_path"],
        &["distribution", "registry", "config_path"],
        How::Folders,
    ),
    rule(
        &["plugins", TRANSFER, "max_concurrent_unpacks"],
        &["bundle", "max_concurrent_unpacks"],
        How::Same,
    ),
    rule(
        &["plugins", OVERLAYFS, "mount_options"],
        &["bundle", "overlayfs", "mount_options"],
        How::Same,
    ),
    rule(&["plugins", OVERLAYFS, "root_path"], &["bundle", "overlayfs", "root_path"], How::Same),
    rule(
        &["plugins", OVERLAYFS, "upperdir_label"],
        &["bundle", "overlayfs", "upperdir_label"],
        How::Same,
    ),
    rule(
        &["plugins", OVERLAYFS, "sync_remove"],
        &["bundle", "overlayfs", "sync_remove"],
        How::Same,
    ),
    rule(&["plugins", NATIVE, "root_path"], &["bundle", "native", "root_path"], How::Same),
    rule(&["plugins", BTRFS, "root_path"], &["bundle", "btrfs", "root_path"], How::Same),
    rule(&["plugins", BLOCKFILE, "root_path"], &["bundle", "blockfile", "root_path"], How::Same),
    rule(
        &["plugins", BLOCKFILE, "scratch_file"],
        &["bundle", "blockfile", "scratch_file"],
        How::Same,
    ),
    rule(&["plugins", BLOCKFILE, "fs_type"], &["bundle", "blockfile", "fs_type"], How::Same),
    rule(
        &["plugins", BLOCKFILE, "mount_options"],
        &["bundle", "blockfile", "mount_options"],
        How::Same,
    ),
    rule(
        &["plugins", BLOCKFILE, "recreate_scratch"],
        &["bundle", "blockfile", "recreate_scratch"],
        How::Same,
    ),
    rule(&["plugins", EROFS, "root_path"], &["bundle", "erofs", "root_path"], How::Same),
    rule(
        &["plugins", EROFS, "ovl_mount_options"],
        &["bundle", "erofs", "ovl_mount_options"],
        How::Same,
    ),
    rule(
        &["plugins", EROFS, "enable_fsverity"],
        &["bundle", "erofs", "enable_fsverity"],
        How::Same,
    ),
    rule(&["plugins", EROFS, "set_immutable"], &["bundle", "erofs", "set_immutable"], How::Same),
    rule(&["plugins", EROFS, "default_size"], &["bundle", "erofs", "default_size"], How::Same),
    rule(&["plugins", EROFS_DIFF, "mkfs_options"], &["bundle", "erofs", "mkfs_options"], How::Same),
    rule(&["plugins", DIFF, "default"], &["bundle", "differs"], How::Same),
    rule(&["plugins", OVERLAYFS, "slow_chown"], &["bundle", "overlayfs", "slow_chown"], How::Same),
    rule(&["plugins", RESTART, "interval"], &["runtime", "restart_interval"], How::Duration),
    rule(
        &["timeouts", "io.containerd.timeout.shim.load"],
        &["runtime", "timeouts", "shim_load"],
        How::Duration,
    ),
    rule(
        &["timeouts", "io.containerd.timeout.shim.cleanup"],
        &["runtime", "timeouts", "shim_cleanup"],
        How::Duration,
    ),
    rule(
        &["timeouts", "io.containerd.timeout.shim.shutdown"],
        &["runtime", "timeouts", "shim_shutdown"],
        How::Duration,
    ),
    rule(
        &["timeouts", "io.containerd.timeout.task.state"],
        &["runtime", "timeouts", "task_state"],
        How::Duration,
    ),
    rule(
        &["timeouts", "io.containerd.timeout.metrics.shimstats"],
        &["runtime", "timeouts", "shim_stats"],
        How::Duration,
    ),
    rule(&["plugins", OTLP, "endpoint"], &["telemetry", "otlp_endpoint"], How::Same),
    rule(&["plugins", TRACING, "sampling_ratio"], &["telemetry", "sampling_ratio"], How::Ratio),
    rule(&["plugins", CGROUPS, "no_prometheus"], &["metrics", "containers"], How::Not),
];

/// Tables of named programs, which are called the same here, and the keys that one has.
pub(crate) const PROGRAMS: [(&str, &[&str]); 2] = [
    ("proxy_plugins", &["type", "address", "platform", "exports", "capabilities"]),
    ("stream_processors", &["accepts", "returns", "path", "args", "env"]),
];

/// Plugins whose names start so are not here, for this reason: what is said of one is said once.
const ABSENT: &[(&str, &str)] = &[
    ("io.containerd.nri.v1.nri", "NRI is not there yet"),
    ("io.containerd.snapshotter.v1.aufs", "there is no such snapshotter"),
    ("io.containerd.snapshotter.v1.devmapper", "there is no such snapshotter"),
    ("io.containerd.snapshotter.v1.zfs", "there is no such snapshotter"),
    ("io.containerd.runtime.v1", "shims of version 2 are started, as by containerd 2"),
];

/// What containerd of before version 2 has in its own file where the newest has no such key.
const EARLIER: &[(&[&str], &str)] = &[
    (&["plugins", "io.containerd.runtime.v1.linux", "runtime"], "runc"),
    (&["plugins", "io.containerd.runtime.v1.linux", "shim"], "containerd-shim"),
    (&["plugins", TRACING, "service_name"], "containerd"),
];

/// What starts so has no effect here, for this reason.
const WITHOUT_EFFECT: &[(&[&str], &str)] = &[
    (&["plugin_dir"], "programs that are loaded into containerd cannot be loaded here"),
    (&["temp"], "what is made for a moment lies beside what it becomes"),
    (&["debug", "log_trace_id"], "lines have the trace in format \"json\""),
    (
        &["timeouts", "io.containerd.timeout.cri"],
        "each step of undoing a pod has a time of its own",
    ),
    (&["plugins", TRACING], "each process is a service of its own, or what OTEL_SERVICE_NAME says"),
    (&["plugins", OTLP, "protocol"], "spans go by gRPC"),
    (&["plugins", "io.containerd.server.v1.debug"], "SIGUSR1 writes down what berthd does"),
    (
        &["plugins", "io.containerd.metrics.v1.grpc-prometheus"],
        "how long calls take is always told",
    ),
    (&["plugins", TCP, "tls_common_name"], "it names a certificate of Windows"),
    (&["plugins", METADATA, "no_sync"], "what is acknowledged is durable"),
    (&["plugins", DIFF, "sync_fs"], "layers are always synced"),
    (&["plugins", TRANSFER], "layers are pulled and unpacked as they come, for this machine"),
    (&["plugins", "io.containerd.runtime"], "shims run what they can"),
    (
        &["timeouts", "io.containerd.timeout.bolt.open"],
        "a store is opened by the service that locks it",
    ),
];

/// The plugin that has this key and is not here, and why it is not.
pub(super) fn absent(keys: &[String]) -> Option<(&str, &'static str)> {
    let [plugins, plugin, ..] = keys else { return None };
    let found = ABSENT.iter().find(|(start, _)| plugins == "plugins" && plugin.starts_with(start));
    found.map(|(_, reason)| (plugin.as_str(), *reason))
}

/// Whether containerd of before version 2 has this value anyway.
pub(super) fn was_default(keys: &[String], value: &Value) -> bool {
    EARLIER.iter().any(|(known, default)| keys == *known && value.as_str() == Some(default))
}

/// Why what is at `keys` has no effect, if containerd has such a key.
pub(super) fn without_effect(keys: &[String]) -> Option<&'static str> {
    let starts = |prefix: &[&str]| {
        let (last, firsts) = prefix.split_last()?;
        let same = keys.len() >= prefix.len()
            && keys.iter().zip(firsts).all(|(key, first)| key == first)
            && keys.get(firsts.len())?.starts_with(last);
        Some(same)
    };
    let found = WITHOUT_EFFECT.iter().find(|(prefix, _)| starts(prefix) == Some(true));
    found.map(|(_, reason)| *reason)
}

impl How {
    /// What is to be said of a value that is taken as another.
    pub(super) fn remark(self, value: &Value) -> Option<&'static str> {
        let above = matches!(self, Self::Message) && value.as_integer() > Some(MOST_MESSAGE);
        above.then_some("is taken as 1GiB, which is the most here")
    }

    /// The value as it is written here; none if it says nothing.
    ///
    /// # Errors
    /// What it has to be.
    pub(super) fn convert(self, value: Value) -> Result<Option<Value>, String> {
        if value.as_str() == Some("") {
            return Ok(None);
        }
        match self {
            Self::Same => Ok(Some(value)),
            Self::Duration => duration(&value).map(|length| Some(ours(length))),
            Self::Folders => Ok(Some(match value {
                Value::String(list) => {
                    list.split(':').map(str::to_owned).map(Value::String).collect::<Vec<_>>().into()
                }
                other => other,
            })),
            Self::Ratio => Ok((value.as_float() != Some(0.0)).then_some(value)),
            Self::Not => match value {
                Value::Boolean(yes) => Ok(Some(Value::Boolean(!yes))),
                other => Err(format!("{other} is neither true nor false")),
            },
            Self::Message => Ok(match value.as_integer() {
                Some(..=0) => None,
                Some(size) if size > MOST_MESSAGE => Some(Value::Integer(MOST_MESSAGE)),
                _ => Some(value),
            }),
        }
    }
}

/// A length of time as our file has it.
pub(super) fn ours(length: Duration) -> Value {
    Value::String(humantime::format_duration(length).to_string().replace(' ', ""))
}
