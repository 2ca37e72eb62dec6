//! What options and specs say comes to runc, and to the shim itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_proto::containerd::runc::v1::Options;
use common::*;
use serde_json::json;

/// A runc that notes its arguments and whose its standard output is, a line for each call.
fn noting(node: &Node) -> String {
    let program = node.path("noting-runc");
    let text = format!(
        "#!/bin/sh\necho \"$@ $(stat -Lc %u:%g /proc/$$/fd/1)\" >>{}\nexec runc \"$@\"\n",
        node.path("calls").display()
    );
    script(&program, &text);
    program.to_string_lossy().into_owned()
}

fn calls(node: &Node) -> Vec<String> {
    let text = std::fs::read_to_string(node.path("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn options_come_to_runc() {
    let node = Node::new();
    let out = node.path("out");
    let mut shim = node.shim("op1", &shell("echo up >/proc/self/fd/1")).await;
    shim.options = Options {
        binary_name: noting(&node),
        no_pivot_root: true,
        no_new_keyring: true,
        io_uid: 1234,
        io_gid: 1235,
        ..node.options()
    };
    shim.create(Io { stdout: format!("file://{}", out.display()), ..Io::default() }).await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
    assert_eq!(std::fs::read_to_string(out).unwrap(), "up\n");
    let calls = calls(&node);
    let create = calls.iter().find(|call| call.contains(" create ")).unwrap();
    let root = format!("--root {}/{NAMESPACE} ", node.path("runc").display());
    // Its pipes are its user's, who may open them by name.
    for part in [root.as_str(), "--no-pivot ", "--no-new-keyring ", " 1234:1235"] {
        assert!(create.contains(part), "no {part} in {create}");
    }
    assert!(calls.iter().all(|call| call.contains(&root)), "{calls:?}");
    assert!(!create.contains("--systemd-cgroup"), "{create}");

    let mut shim = node.shim("op2", &shell("true")).await;
    // A program that is not there is named; here it is asked for systemd before that.
    let asked = Options { systemd_cgroup: true, binary_name: noting(&node), ..node.options() };
    shim.options = asked;
    let made = shim.try_create(Io::default()).await;
    let last = self::calls(&node);
    assert!(last.iter().any(|call| call.contains("--systemd-cgroup create")), "{last:?}");
    match made {
        Ok(_) => shim.finish().await,
        Err(_) => shim.shutdown().await,
    }
}

#[tokio::test]
async fn hooks_run_and_one_that_fails_is_told() {
    let node = Node::new();
    let ran = node.path("ran");
    let hook = |name: &str| {
        let line = format!("echo {name} >>{}", ran.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", line] }])
    };
    let mut hooked = shell("true");
    hooked["hooks"] = json!({
        "createRuntime": hook("createRuntime"),
        "poststart": hook("poststart"),
        "poststop": hook("poststop"),
    });
    let shim = node.shim("hk1", &hooked).await;
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "createRuntime\npoststart\npoststop\n");
    let failing = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo no-way >&2; exit 3"] }]);
    hooked["hooks"] = json!({ "createRuntime": failing });
    let shim = node.shim("hk2", &hooked).await;
    let failed = shim.try_create(Io::default()).await.unwrap_err().to_string();
    assert!(failed.contains("OCI runtime create failed"), "{failed}");
    assert!(failed.contains("hook") && failed.contains("no-way"), "{failed}");
    shim.shutdown().await;
}

#[tokio::test]
async fn a_shim_is_ended_for_memory_before_its_caller_and_after_containers() {
    let node = Node::new();
    let score = |pid: u32| -> i32 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    let mut last = shell("cat /proc/self/oom_score_adj");
    last["process"]["oomScoreAdj"] = 321.into();
    let shim = node.shim("oom1", &last).await;
    assert_eq!(score(shim.pid().await), (score(std::process::id()) + 1).min(1000));
    let out = node.path("out");
    shim.create(Io { stdout: format!("file://{}", out.display()), ..Io::default() }).await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
    assert_eq!(std::fs::read_to_string(out).unwrap(), "321\n");
}
