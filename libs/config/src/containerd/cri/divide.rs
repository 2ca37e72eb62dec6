//! The CRI's table of before version 3, as the three that containerd 2 has in its place.

use toml::Value;

use crate::tree::{Node, Tree};

const WHOLE: [&str; 2] = ["plugins", "io.containerd.grpc.v1.cri"];
const IMAGES: [&str; 2] = ["plugins", "io.containerd.cri.v1.images"];
const RUNTIME: [&str; 2] = ["plugins", "io.containerd.cri.v1.runtime"];

/// What stays where it was: the server of streams.
const SERVER: [&str; 6] = [
    "disable_tcp_service",
    "stream_server_address",
    "stream_server_port",
    "stream_idle_timeout",
    "enable_tls_streaming",
    "x509_key_pair_streaming",
];
/// What is of images.
const OF_IMAGES: [&str; 6] = [
    "registry",
    "image_decryption",
    "max_concurrent_downloads",
    "image_pull_progress_timeout",
    "image_pull_with_sync_fs",
    "stats_collect_period",
];
/// What is of images in the table `containerd`.
const OF_SNAPSHOTS: [&str; 3] =
    ["snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers"];

/// Moves each key to the table that has it since version 3. What is there already counts.
pub(in crate::containerd) fn divide(tree: &mut Tree) {
    let Some(Node::Table(mut whole)) = tree.take(&WHOLE) else { return };
    for key in SERVER {
        keep(tree, &WHOLE, &[key], whole.take(&[key]));
    }
    for key in OF_IMAGES {
        keep(tree, &IMAGES, &[key], whole.take(&[key]));
    }
    keep(tree, &IMAGES, &["pinned_images", "sandbox"], whole.take(&["sandbox_image"]));
    for key in OF_SNAPSHOTS {
        keep(tree, &IMAGES, &[key], whole.take(&["containerd", key]));
    }
    let folder = match whole.take(&["cni", "bin_dir"]) {
        Some(Node::Value(path, origin)) => Some(Node::Value(Value::Array(vec![path]), origin)),
        _ => None,
    };
    keep(tree, &RUNTIME, &["cni", "bin_dirs"], folder);
    if let Some(Node::Table(containerd)) = whole.0.get_mut("containerd")
        && let Some(Node::Table(runtimes)) = containerd.0.get_mut("runtimes")
    {
        runtimes.0.values_mut().for_each(rename_sandboxer);
    }
    under(tree, &RUNTIME, whole);
}

fn rename_sandboxer(runtime: &mut Node) {
    let Node::Table(runtime) = runtime else { return };
    if let Some(mode) = runtime.take(&["sandbox_mode"])
        && !runtime.0.contains_key("sandboxer")
    {
        runtime.put(&["sandboxer"], mode);
    }
}

/// Puts `node` there unless something is.
fn keep(tree: &mut Tree, table: &[&str], keys: &[&str], node: Option<Node>) {
    let path = [table, keys].concat();
    if let Some(node) = node.filter(|_| tree.get(&path).is_none()) {
        tree.put(&path, node);
    }
}

/// Puts what is in `more` there where nothing is.
fn under(tree: &mut Tree, table: &[&str], more: Tree) {
    for (name, node) in more.0 {
        let path = [table, &[name.as_str()]].concat();
        match (node, tree.get(&path).is_some()) {
            (Node::Table(inner), true) => under(tree, &path, inner),
            (Node::Value(..), true) => {}
            (node, false) => tree.put(&path, node),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn divided(text: &str) -> String {
        let mut tree = Tree::read(text, Path::new("/f")).expect("it is TOML");
        divide(&mut tree);
        tree.to_table().to_string()
    }

    fn table(text: &str) -> toml::Table {
        toml::from_str(text).expect("it is TOML")
    }

    #[test]
    fn each_key_is_in_the_table_that_has_it_now() {
        let text = divided(
            "[plugins.'io.containerd.grpc.v1.cri']\n\
             sandbox_image = 'pause'\nenable_selinux = true\nstream_server_port = '7'\n\
             max_concurrent_downloads = 5\n\
             [plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/b'\nconf_dir = '/c'\n\
             [plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/r'\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd]\n\
             snapshotter = 's'\ndefault_runtime_name = 'x'\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.x]\n\
             runtime_type = 't'\nsandbox_mode = 'podsandbox'\n",
        );
        let expected = "[plugins.'io.containerd.grpc.v1.cri']\nstream_server_port = '7'\n\
             [plugins.'io.containerd.cri.v1.images']\n\
             max_concurrent_downloads = 5\nsnapshotter = 's'\n\
             pinned_images = { sandbox = 'pause' }\nregistry = { config_path = '/r' }\n\
             [plugins.'io.containerd.cri.v1.runtime']\nenable_selinux = true\n\
             cni = { bin_dirs = ['/b'], conf_dir = '/c' }\n\
             [plugins.'io.containerd.cri.v1.runtime'.containerd]\ndefault_runtime_name = 'x'\n\
             runtimes.x = { runtime_type = 't', sandboxer = 'podsandbox' }\n";
        assert_eq!(table(&text), table(expected), "{text}");
    }

    #[test]
    fn what_is_in_the_new_tables_counts() {
        let text = divided(
            "[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'old'\nenable_cdi = true\n\
             [plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'new'\n\
             [plugins.'io.containerd.cri.v1.runtime']\nenable_cdi = false\n",
        );
        assert!(!text.contains("old") && text.contains("sandbox = \"new\""), "{text}");
        assert!(text.contains("enable_cdi = false"), "{text}");
    }
}
