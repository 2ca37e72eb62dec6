//! A file of containerd's version 1, 2 or 3 made one of version 4.

use toml::Value;

use crate::Error;
use crate::tree::{Node, Tree};

/// containerd's newest version.
pub(crate) const NEWEST: i64 = 4;

const GRPC: &str = "io.containerd.server.v1.grpc";
const TCP: &str = "io.containerd.server.v1.grpc-tcp";
const TTRPC: &str = "io.containerd.server.v1.ttrpc";
const DEBUG: &str = "io.containerd.server.v1.debug";
const METRICS: &str = "io.containerd.server.v1.metrics";
const HISTOGRAMS: &str = "io.containerd.metrics.v1.grpc-prometheus";

/// Plugins that version 1 names shortly.
const SHORT: [(&str, &str); 16] = [
    ("cri", "io.containerd.grpc.v1.cri"),
    ("cgroups", "io.containerd.monitor.v1.cgroups"),
    ("linux", "io.containerd.runtime.v1.linux"),
    ("scheduler", "io.containerd.gc.v1.scheduler"),
    ("bolt", "io.containerd.metadata.v1.bolt"),
    ("task", "io.containerd.runtime.v2.task"),
    ("opt", "io.containerd.internal.v1.opt"),
    ("restart", "io.containerd.internal.v1.restart"),
    ("tracing", "io.containerd.internal.v1.tracing"),
    ("otlp", "io.containerd.tracing.processor.v1.otlp"),
    ("aufs", "io.containerd.snapshotter.v1.aufs"),
    ("btrfs", "io.containerd.snapshotter.v1.btrfs"),
    ("devmapper", "io.containerd.snapshotter.v1.devmapper"),
    ("native", "io.containerd.snapshotter.v1.native"),
    ("overlayfs", "io.containerd.snapshotter.v1.overlayfs"),
    ("zfs", "io.containerd.snapshotter.v1.zfs"),
];

/// Plugins that were named otherwise until version 4.
const RENAMED: [(&str, &str); 2] = [
    ("io.containerd.monitor.v1.cgroups", "io.containerd.monitor.task.v1.cgroups"),
    ("io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart"),
];

/// Where a server's keys were until version 4, the plugin and the key that they are now.
const MOVED: [(&[&str], &str, &str); 17] = [
    (&["grpc", "address"], GRPC, "address"),
    (&["grpc", "uid"], GRPC, "uid"),
    (&["grpc", "gid"], GRPC, "gid"),
    (&["grpc", "max_recv_message_size"], GRPC, "max_recv_message_size"),
    (&["grpc", "max_send_message_size"], GRPC, "max_send_message_size"),
    (&["grpc", "tcp_address"], TCP, "address"),
    (&["grpc", "tcp_tls_ca"], TCP, "tls_ca"),
    (&["grpc", "tcp_tls_cert"], TCP, "tls_cert"),
    (&["grpc", "tcp_tls_key"], TCP, "tls_key"),
    (&["grpc", "tcp_tls_common_name"], TCP, "tls_common_name"),
    (&["ttrpc", "address"], TTRPC, "address"),
    (&["ttrpc", "uid"], TTRPC, "uid"),
    (&["ttrpc", "gid"], TTRPC, "gid"),
    (&["debug", "address"], DEBUG, "address"),
    (&["debug", "uid"], DEBUG, "uid"),
    (&["debug", "gid"], DEBUG, "gid"),
    (&["metrics", "address"], METRICS, "address"),
];

/// The version of a file. One that names none has version 1.
///
/// # Errors
/// [`Error::Containerd`] for one that does not exist.
pub(super) fn version(tree: &Tree) -> Result<i64, Error> {
    let Some(Node::Value(value, origin)) = tree.get(&["version"]) else { return Ok(1) };
    match value.as_integer() {
        Some(0) => Ok(1),
        Some(version) if (1..=NEWEST).contains(&version) => Ok(version),
        _ => Err(Error::Containerd {
            origin: origin.clone(),
            key: "version".into(),
            message: format!(
                "expected containerd config version equal to or less than `{NEWEST}`, got `{value}`"
            ),
        }),
    }
}

/// Makes a file of `version` one of [`NEWEST`].
pub(super) fn migrate(tree: &mut Tree, version: i64) {
    if version < 2 {
        lengthen(tree);
    }
    if version < 4 {
        rename(tree);
        move_servers(tree);
    }
}

/// Whole names for the short ones of version 1.
fn lengthen(tree: &mut Tree) {
    if let Some(Node::Table(plugins)) = tree.0.get_mut("plugins") {
        plugins.0 = std::mem::take(&mut plugins.0)
            .into_iter()
            .map(|(name, node)| (whole(&name), node))
            .collect();
    }
    for list in ["disabled_plugins", "required_plugins"] {
        if let Some(Node::Value(Value::Array(names), _)) = tree.0.get_mut(list) {
            for name in names {
                if let Value::String(name) = name {
                    *name = whole(name);
                }
            }
        }
    }
}

fn whole(name: &str) -> String {
    if name.contains('.') {
        return name.to_owned();
    }
    match SHORT.iter().find(|(short, _)| *short == name) {
        Some((_, whole)) => (*whole).to_owned(),
        None if name.ends_with("-service") => format!("io.containerd.service.v1.{name}"),
        None => format!("io.containerd.grpc.v1.{name}"),
    }
}

fn rename(tree: &mut Tree) {
    for (old, new) in RENAMED {
        if let Some(node) = tree.take(&["plugins", old]) {
            tree.put(&["plugins", new], node);
        }
    }
}

/// Servers are plugins since version 4; where a file has both, the plugin counts.
fn move_servers(tree: &mut Tree) {
    let there: Vec<&str> = [GRPC, TCP, TTRPC, DEBUG, METRICS, HISTOGRAMS]
        .into_iter()
        .filter(|plugin| tree.get(&["plugins", plugin]).is_some())
        .collect();
    let address = tree.get(&["grpc", "address"]).cloned();
    copy_sizes(tree, &there);
    for (old, plugin, key) in MOVED {
        let node = tree.take(old).filter(|node| !is_empty(node));
        if let Some(node) = node.filter(|_| !there.contains(&plugin)) {
            tree.put(&["plugins", plugin, key], node);
        }
    }
    if let Some(node) = tree.take(&["metrics", "grpc_histogram"])
        && !there.contains(&HISTOGRAMS)
    {
        tree.put(&["plugins", HISTOGRAMS, "grpc_histogram"], node);
    }
    for table in ["grpc", "ttrpc", "metrics"] {
        if matches!(tree.0.get(table), Some(Node::Table(left)) if left.0.is_empty()) {
            tree.0.remove(table);
        }
    }
    // Shims find theirs beside the clients' socket.
    let named = ["plugins", TTRPC, "address"];
    if let Some(Node::Value(Value::String(path), origin)) = address
        && !path.is_empty()
        && tree.get(&named).is_none()
    {
        tree.put(&named, Node::Value(Value::String(format!("{path}.ttrpc")), origin));
    }
}

/// Until version 4 one key bounds the messages of both servers.
fn copy_sizes(tree: &mut Tree, there: &[&str]) {
    let listens = tree.get(&["grpc", "tcp_address"]).is_some_and(|node| !is_empty(node));
    if !listens || there.contains(&TCP) {
        return;
    }
    for key in ["max_recv_message_size", "max_send_message_size"] {
        if let Some(node) = tree.get(&["grpc", key]).filter(|node| !is_empty(node)).cloned() {
            tree.put(&["plugins", TCP, key], node);
        }
    }
}

fn is_empty(node: &Node) -> bool {
    match node {
        Node::Value(Value::String(text), _) => text.is_empty(),
        Node::Value(Value::Integer(number), _) => *number == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn migrated(text: &str) -> String {
        let mut tree = Tree::read(text, Path::new("/f")).expect("it is TOML");
        let version = version(&tree).expect("there is such a version");
        migrate(&mut tree, version);
        tree.to_table().to_string()
    }

    #[test]
    fn a_file_without_a_version_has_short_names() {
        let text = migrated(
            "disabled_plugins = ['cri', 'tasks-service', 'x']\n[plugins.restart]\ninterval = '1s'\n",
        );
        for part in [
            "\"io.containerd.grpc.v1.cri\"",
            "\"io.containerd.service.v1.tasks-service\"",
            "\"io.containerd.grpc.v1.x\"",
            "[plugins.\"io.containerd.monitor.container.v1.restart\"]\ninterval = \"1s\"",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn servers_become_plugins_and_those_that_are_there_count() {
        let text = migrated(
            "version = 2\n[grpc]\naddress = '/g'\nuid = 7\ntcp_address = ''\n[metrics]\naddress = '[::1]:1'\n",
        );
        for part in [
            "[plugins.\"io.containerd.server.v1.grpc\"]\naddress = \"/g\"\nuid = 7",
            "[plugins.\"io.containerd.server.v1.ttrpc\"]\naddress = \"/g.ttrpc\"",
            "[plugins.\"io.containerd.server.v1.metrics\"]\naddress = \"[::1]:1\"",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("tcp"), "{text}");
        let both = "version = 3\n[grpc]\naddress = '/g'\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/p'\n";
        assert!(!migrated(both).contains("\"/g\""), "{}", migrated(both));
    }

    #[test]
    fn a_version_that_does_not_exist_is_refused() {
        let tree = Tree::read("version = 5\n", Path::new("/f")).expect("it is TOML");
        let error = version(&tree).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "/f:1: version: expected containerd config version equal to or less than `4`, got `5`"
        );
    }
}
