//! Plugins that have to be there.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use berth_config::Service;
use berth_gateway::Error;
use berth_gateway::required::check_within;
use berth_lifecycle::child;
use berth_testkit::Killable;
use common::{Node, eventually, fakes};
use rustix::process::{Pid, Signal, kill_process};

fn requiring(ids: &[&str]) -> Node {
    Node::with(&format!("required_plugins = {ids:?}"))
}

fn all(node: &Node) -> [Killable; 3] {
    [
        node.start(Service::Distribution, fakes::parts("distribution")),
        node.start(Service::Bundle, fakes::parts("bundle")),
        node.start(Service::Runtime, fakes::parts("runtime")),
    ]
}

async fn check(node: &Node, within: Duration) -> Result<(), Error> {
    check_within(&node.config, &node.tasks, within).await
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_named_if_it_may_have_what_is_missing() {
    let soon = Duration::from_millis(300);
    let ids = ["io.containerd.grpc.v1.version", "io.containerd.test.v1.runtime"];
    let node = requiring(&ids);
    let error = check(&node, soon).await.unwrap_err().to_string();
    assert!(
        error
            .starts_with("ask distribution for required plugins (io.containerd.test.v1.runtime): "),
        "{error}"
    );
    let _services = all(&node);
    check(&node, Duration::from_secs(20)).await.unwrap();
}

#[tokio::test]
async fn what_nobody_has_is_named_when_all_have_answered() {
    let node = requiring(&["io.containerd.test.v1.none", "io.containerd.test.v1.runtime"]);
    let _services = all(&node);
    let error = check(&node, Duration::from_secs(20)).await.unwrap_err();
    assert!(
        matches!(&error, Error::NotIncluded(missing) if missing == "io.containerd.test.v1.none"),
        "{error}"
    );
}

/// It waits for services that are away, and is told to end.
#[tokio::test]
async fn a_gateway_that_looks_for_plugins_ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (dir.path(), dir.path().join("berth.toml"));
    let required = "[gateway]\nrequired_plugins = [\"io.containerd.test.v1.none\"]\n";
    std::fs::write(&file, required).unwrap();
    let mut command = child::command(env!("CARGO_BIN_EXE_berth-gateway"));
    command.arg("--config").arg(&file).env(berth_lifecycle::NODE_STARTS, "1");
    command.arg("--root").arg(root.join("root")).arg("--state").arg(root);
    let mut gateway = command.spawn().unwrap();
    let pid = Pid::from_raw(gateway.id().unwrap().try_into().unwrap()).unwrap();
    // What it is told from then on is heard.
    eventually("it listens for SIGTERM", || catches_sigterm(pid)).await;
    kill_process(pid, Signal::TERM).unwrap();
    let ended = gateway.wait().await.unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(!root.join("berth.sock").exists());
}

fn catches_sigterm(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    caught & (1 << (Signal::TERM.as_raw() - 1)) != 0
}
