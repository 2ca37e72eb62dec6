//! Wire types stop at the edge: which files may name them.

use std::path::{Path, PathBuf};

/// Where the wire's types may be named, below the workspace's root. The shim and the command line are edges as a
/// whole.
const EDGES: [&str; 24] = [
    "libs/cgroup-metrics/",
    "libs/check/",
    "libs/cri-spec/",
    "libs/grpc/",
    "libs/introspection/",
    "libs/node-events/",
    "libs/recent/",
    "libs/ttrpc/",
    "services/bundle/src/api/",
    "services/bundle/src/peers/",
    "services/cluster/src/api",
    "services/cluster/src/peers",
    "services/cri/src/api",
    "services/cri/src/peers",
    "services/cri/src/records",
    "services/cri/src/stats/measured.rs",
    "services/cri/src/stats/metrics/",
    "services/cri/src/time.rs",
    "services/distribution/src/api",
    "services/distribution/src/peers",
    "services/gateway/",
    "services/runtime/src/api",
    "services/runtime/src/peers",
    "services/shim/",
];

/// Pods and containers are described in the CRI's own messages, which are kept as they came (docs/adr/0014-cri.md): in
/// this crate they are the domain's.
const PODS: (&str, &str) = ("services/cri/src/", "berth_proto::runtime::v1");

/// Crates of which every file is an edge.
const CLIENTS: [&str; 1] = ["services/cli/"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(folder).expect("read a source folder") {
        let path = entry.expect("read an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A line of the file that names a wire type, outside comments.
fn names_the_wire<'a>(file: &str, text: &'a str) -> Option<&'a str> {
    let wire = ["berth_proto::", "tonic::", "prost_types::"];
    let pods = |line: &str| file.starts_with(PODS.0) && line.contains(PODS.1);
    let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.find(|line| wire.iter().any(|name| line.contains(name)) && !pods(line))
}

#[test]
fn wire_types_stop_at_the_edge() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut files = Vec::new();
    for group in ["libs", "services"] {
        for entry in fs_err::read_dir(root.join(group)).expect("read the workspace") {
            sources(&entry.expect("read an entry").path().join("src"), &mut files);
        }
    }
    assert!(files.len() > 300, "only {} sources were found", files.len());
    let mut edges = 0;
    for file in files {
        let name = file.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        let text = fs_err::read_to_string(&file).expect("read a source");
        let Some(line) = names_the_wire(&name, &text) else { continue };
        let allowed = EDGES.iter().chain(&CLIENTS).any(|edge| name.starts_with(edge));
        assert!(allowed, "{name} names a type of the wire: {line}");
        edges += 1;
    }
    assert!(edges > 50, "only {edges} files name the wire: the test looks for the wrong thing");
}
