//! Shims of several kinds: how their programs are asked and what they are told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};

use berth_testkit::write_program;
use support::{Node, signal, until};

/// A shim's program that notes what it is called with and does one verb for itself; all else does
/// the real one, which is `$real` in the script.
fn wrapped(folder: &Path, real: &str, verb: &str, script: &str) -> (String, PathBuf) {
    let (program, calls) = (folder.join("wrapped"), folder.join("calls"));
    let text = format!(
        "#!/bin/sh\nreal={real}\nfor last; do :; done\necho \"$last\" >>{calls}\n\
         case $last in {verb}) {script};; *) exec $real \"$@\";; esac\n",
        calls = calls.display(),
    );
    write_program(&program, text).unwrap();
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
    for shim in support::shims().into_iter().filter(|shim| !shim.ends_with(support::GRPC_SHIM)) {
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

/// A socket's path has 107 bytes at most, and the name of one has many of them.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_shims_are_elsewhere_if_the_state_folder_is_too_long() {
    let long = "a-folder-with-a-name-that-is-much-too-long-for-sockets-";
    let node = Node::start_in(tempfile::Builder::new().prefix(long).tempdir().unwrap()).await;
    for (id, shim) in ["e1", "e2", "e3"].into_iter().zip(support::shims()) {
        if shim.ends_with(support::GRPC_SHIM) {
            continue;
        }
        let bootstrap = whole_life(&node, &shim, id).await;
        let address = bootstrap["address"].as_str().unwrap();
        assert!(address.starts_with("unix:///run/containerd/s/"), "{shim}: {address}");
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_over_grpc_is_spoken_to_in_grpc() {
    let node = Node::start().await;
    let shims = support::shims();
    let shim = shims.iter().find(|shim| shim.ends_with(support::GRPC_SHIM));
    let bootstrap = whole_life(&node, shim.expect("it is not built"), "spoken").await;
    assert_eq!((&bootstrap["protocol"], &bootstrap["version"]), (&"grpc".into(), &3.into()));
    node.finish().await;
}

/// A group's shim may be older than the program that finds it and answers for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_serve_what_was_said_is_called_in_the_older_way() {
    let node = Node::start().await;
    let real = "/usr/bin/containerd-shim-runc-v2";
    let answer = r#"{"version":3,"protocol":"ttrpc","address":"%s"}"#;
    let start = format!(
        "address=$($real \"$@\" | sed 's/.*\\(unix:[^\"]*\\).*/\\1/'); printf '{answer}' \"$address\""
    );
    let (program, _) = wrapped(node.folder.path(), real, "start", &start);
    let bootstrap = whole_life(&node, &program, "older").await;
    assert_eq!(bootstrap["version"], 2);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_shim_left_nothing_to_be_learnt_ends_with_255() {
    let real = support::shims().pop().unwrap();
    let node = Node::start().await;
    let (program, _) = wrapped(node.folder.path(), &real, "delete", "echo lost >&2; exit 7");
    let pid = node.run(&program, "lost", "while :; do sleep 1000; done").await;
    signal(node.shim_pid("lost"), libc::SIGKILL);
    assert_eq!(node.wait("lost", "").await.unwrap(), 255);
    let told = node.events_until("lost", "delete 255").await;
    assert_eq!(told, ["create", "start", "exit lost 255", "delete 255"]);
    until("its folder is gone", || !node.bundle("lost").exists()).await;
    // Nobody cleaned up: it runs on.
    let mut runc = berth_lifecycle::child::command("runc");
    runc.arg("--root").arg(node.folder.path().join("run/runtime/.runc/test"));
    runc.args(["delete", "--force", "lost"]);
    assert!(runc.status().await.unwrap().success());
    until("it is dead", || !Path::new(&format!("/proc/{pid}")).exists()).await;
    node.finish().await;
}
