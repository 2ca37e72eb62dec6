//! Shims of several kinds: how their programs are asked and what they are told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::Node;

/// A shim's program that notes what it is called with and does one verb for itself; all else does
/// the real one, which is `$real` in the script.
fn wrapped(folder: &Path, real: &str, verb: &str, script: &str) -> (String, PathBuf) {
    let (program, calls) = (folder.join("wrapped"), folder.join("calls"));
    let text = format!(
        "#!/bin/sh\nreal={real}\nfor last; do :; done\necho \"$last\" >>{calls}\n\
         case $last in {verb}) {script};; *) exec $real \"$@\";; esac\n",
        calls = calls.display(),
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (program.to_string_lossy().into_owned(), calls)
}

async fn whole_life(node: &Node, shim: &str, id: &str) -> serde_json::Value {
    node.run(shim, id, "exit 3").await;
    let bootstrap = std::fs::read(node.bundle(id).join("bootstrap.json")).unwrap();
    assert_eq!(node.wait(id, "").await.unwrap(), 3, "{shim}");
    assert_eq!(node.delete(id).await.unwrap(), 3, "{shim}");
    serde_json::from_slice(&bootstrap).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_asked_once_what_it_understands() {
    for shim in support::shims() {
        let node = Node::start().await;
        let ours = !shim.starts_with("/usr/bin/");
        let input = node.folder.path().join("input");
        let start = format!("tee {} | $real \"$@\"", input.display());
        let (program, calls) = wrapped(node.folder.path(), &shim, "start", &start);
        let first = whole_life(&node, &program, "p1").await;
        whole_life(&node, &program, "p2").await;
        let calls = std::fs::read_to_string(&calls).unwrap();
        let expected = if ours { "-v\nstart\nstart\n" } else { "-v\n-info\nstart\nstart\n" };
        assert_eq!(calls, expected, "{shim}");
        let told = std::fs::read(&input).unwrap();
        assert_eq!(told.is_empty(), !ours, "{shim}");
        let folder = node.folder.path().join("run/s");
        let folder = if ours { folder.to_str().unwrap() } else { "/run/containerd/s" };
        let address = first["address"].as_str().unwrap();
        assert!(address.starts_with(&format!("unix://{folder}/")), "{address}");
        assert_eq!(first["version"], if ours { 3 } else { 2 }, "{shim}");
        node.finish().await;
    }
}

