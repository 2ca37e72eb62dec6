//! Wire types stop at the edge: which files may name them.

use std::path::{Path, PathBuf};

/// Where the wire's types may be named, below the workspace's root. The shim, the command line and the CRI, which is
/// one wire in words of another, are edges as a whole.
const EDGES: [&str; 19] = [
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
    "services/cri/",
    "services/distribution/src/api",
    "services/distribution/src/peers",
    "services/gateway/",
    "services/runtime/src/api",
    "services/runtime/src/peers",
    "services/shim/",
];

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

/// Lines that name a wire type, outside comments.
fn names_the_wire(text: &str) -> Option<&str> {
    let wire = ["berth_proto::", "tonic::", "prost_types::"];
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().find(|line| wire.iter().any(|name| line.contains(name)))
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
        let Some(line) = names_the_wire(&text) else { continue };
        let allowed = EDGES.iter().chain(&CLIENTS).any(|edge| name.starts_with(edge));
        assert!(allowed, "{name} names a type of the wire: {line}");
        edges += 1;
    }
    assert!(edges > 50, "only {edges} files name the wire: the test looks for the wrong thing");
}
