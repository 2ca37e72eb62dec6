//! What is done to a running container, and what it uses.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_errors::{Code, Coded};
use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::task::v3 as wire;
use berth_proto::containerd::v1::types::Status;
use berth_proto::io::containerd::cgroups::{v1, v2};
use common::*;
use prost_types::Any;

/// How long a caller waits for what does not end; runc has three quarters of it.
const WAITS: std::time::Duration = std::time::Duration::from_secs(8);

async fn running(node: &Node, id: &str, spec: &serde_json::Value) -> Shim {
    let shim = node.shim(id, spec).await;
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    shim
}

/// The words and the code of containerd's shim for what a state does not allow.
fn refused<T: std::fmt::Debug>(answer: Result<T, berth_ttrpc::Error>, why: &str) {
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.to_string()), (Code::Unknown, why.to_owned()));
}

/// Current count, limit and memory in use, of either hierarchy.
async fn stats(shim: &Shim) -> (u64, u64, u64) {
    let request = wire::StatsRequest { id: shim.id.clone() };
    let answer: wire::StatsResponse = shim.call("Stats", &request).await.unwrap();
    let any = answer.stats.unwrap();
    if let Some(metrics) = berth_proto::unpack::<v1::Metrics>(&any) {
        let metrics = metrics.unwrap();
        let (pids, memory) = (metrics.pids.unwrap(), metrics.memory.unwrap());
        assert!(metrics.cpu.unwrap().usage.unwrap().total > 0);
        return (pids.current, pids.limit, memory.usage.unwrap().usage);
    }
    let metrics = berth_proto::unpack::<v2::Metrics>(&any).unwrap().unwrap();
    let (pids, memory) = (metrics.pids.unwrap(), metrics.memory.unwrap());
    (pids.current, pids.limit, memory.usage)
}

#[tokio::test]
async fn pausing_holds_and_resuming_lets_go() {
    let node = Node::new();
    let shim = running(&node, "p1", &spec(&["sleep", "1000"])).await;
    let _: () = shim.call("Pause", &wire::PauseRequest { id: "p1".into() }).await.unwrap();
    assert_eq!(shim.state("").await.status(), Status::Paused);
    let again = shim.call::<()>("Pause", &wire::PauseRequest { id: "p1".into() }).await;
    refused(again, "cannot pause a paused container");
    refused(shim.exec("e", &["sh"], Io::default()).await, "cannot exec in a paused state");
    refused(shim.start("").await, "cannot start a paused process");
    refused(shim.delete("").await, "cannot delete a paused process");
    let _: () = shim.call("Resume", &wire::ResumeRequest { id: "p1".into() }).await.unwrap();
    assert_eq!(shim.state("").await.status(), Status::Running);
    let again = shim.call::<()>("Resume", &wire::ResumeRequest { id: "p1".into() }).await;
    refused(again, "cannot resume a running process");
    refused(shim.start("").await, "cannot start a running process");
    refused(shim.delete("").await, "cannot delete a running process");
    shim.kill("", 9, true).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    let stopped = shim.call::<()>("Pause", &wire::PauseRequest { id: "p1".into() }).await;
    refused(stopped, "cannot pause a stopped container");
    let stopped = shim.call::<()>("Resume", &wire::ResumeRequest { id: "p1".into() }).await;
    refused(stopped, "cannot resume a stopped container");
    let update = wire::UpdateTaskRequest { id: "p1".into(), ..Default::default() };
    refused(shim.call::<()>("Update", &update).await, "cannot update a stopped container");
    refused(shim.exec("e", &["sh"], Io::default()).await, "cannot exec in a stopped state");
    refused(shim.start("").await, "cannot start a stopped process");
    // What it used is there until it is deleted.
    stats(&shim).await;
    shim.finish().await;
    node.events.wait("/tasks/delete").await;
    let topics = node.events.topics();
    assert_eq!(topics[2..4], ["/tasks/paused", "/tasks/resumed"]);
}

/// Where the kernel does not freeze all in time runc gives up, and leaves it to come. So it is when runc is killed.
#[tokio::test]
async fn a_pause_that_fails_leaves_nothing_frozen() {
    let node = Node::new();
    let failing = node.path("failing-runc");
    let text = format!(
        "#!/bin/sh\nrunc \"$@\" || exit\ncase \" $* \" in *\" pause \"*) [ -e {hold} ] && sleep 1000; exit 1;; esac\n",
        hold = node.path("hold").display()
    );
    script(&failing, &text);
    let told = node.path("told");
    let mut shim = node.shim("p9", &shell("while echo up; do sleep 0.1; done")).await;
    shim.options =
        Options { binary_name: failing.to_string_lossy().into_owned(), ..node.options() };
    shim.create(Io { stdout: format!("file://{}", told.display()), ..Io::default() }).await;
    shim.start("").await.unwrap();
    let said = || std::fs::metadata(&told).map_or(0, |about| about.len());
    for (within, why) in [(LONG, "OCI runtime pause failed"), (WAITS, "runc pause did not end")] {
        let pause = wire::PauseRequest { id: "p9".into() };
        let error = shim.call_within::<()>(within, "Pause", &pause).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(shim.state("").await.status(), Status::Running);
        let before = said();
        eventually("it goes on", || said() > before).await;
        std::fs::write(node.path("hold"), "").unwrap();
    }
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
    assert!(!node.events.topics().contains(&"/tasks/paused".to_owned()));
}

#[tokio::test]
async fn use_is_measured_and_limits_are_changed() {
    let node = Node::new();
    let mut limited = spec(&["sleep", "1000"]);
    limited["linux"]["resources"]["pids"] = serde_json::json!({"limit": 50});
    let shim = running(&node, "p2", &limited).await;
    // runc's own threads are counted until the program takes their place.
    let alone = async { while stats(&shim).await.0 != 1 {} };
    tokio::time::timeout(LONG, alone).await.unwrap();
    let (_, limit, memory) = stats(&shim).await;
    assert_eq!(limit, 50);
    assert!(memory > 0);
    let resources = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
        value: br#"{"pids":{"limit":60}}"#.to_vec(),
    };
    let update = wire::UpdateTaskRequest {
        id: "p2".into(),
        resources: Some(resources),
        ..wire::UpdateTaskRequest::default()
    };
    let _: () = shim.call("Update", &update).await.unwrap();
    assert_eq!(stats(&shim).await.1, 60);
    shim.kill("", 9, false).await.unwrap();
    shim.wait("").await;
    shim.finish().await;
}

#[tokio::test]
async fn running_out_of_memory_is_told_before_the_end_it_brings() {
    let node = Node::new();
    let mut limited = spec(&["tail", "/dev/zero"]);
    limited["linux"]["resources"]["memory"] =
        serde_json::json!({"limit": 16 << 20, "swap": 16 << 20});
    limited["mounts"][1]["options"] = serde_json::json!(["nosuid", "mode=755"]);
    let shim = running(&node, "p3", &limited).await;
    assert_eq!(shim.wait("").await, 137);
    node.events.wait("/tasks/exit").await;
    let topics = node.events.topics();
    let at = |topic: &str| topics.iter().position(|told| told == topic);
    assert!(at("/tasks/oom").is_some() && at("/tasks/oom") < at("/tasks/exit"), "{topics:?}");
    shim.finish().await;
}

#[tokio::test]
async fn what_is_unknown_is_refused() {
    let node = Node::new();
    let shim = running(&node, "p4", &spec(&["sleep", "1000"])).await;
    let request = wire::StateRequest { id: "other".into(), exec_id: String::new() };
    let error = shim.call::<wire::StateResponse>("State", &request).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let error = shim.kill("nope", 9, false).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let error = shim.exec("../x", &["sh"], Io::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let error = shim.kill("", 999, false).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let error = shim.try_create(Io::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let error = shim.call::<()>("Frob", &request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    shim.shutdown().await;
    assert_eq!(shim.state("").await.status(), Status::Running);
    shim.kill("", 9, false).await.unwrap();
    shim.wait("").await;
    shim.finish().await;
}

#[tokio::test]
async fn a_signal_for_all_reaches_every_process_of_a_shared_namespace() {
    let node = Node::new();
    let told = node.path("told");
    let io = || Io { stdout: format!("file://{}", told.display()), ..Io::default() };
    // The shells themselves have something to say of what was killed.
    let words = ["ready", "first", "second", "third"];
    let lines = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let lines = text.lines().filter(|line| words.contains(line));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let script = "(trap 'echo second; exit 0' USR1; echo ready; while :; do sleep 1; done) & \
                  trap 'echo first' USR1; echo ready; while kill -0 $!; do wait $!; done; exit 0";
    let shim = node.shim("p5", &shared_pids(shell(script))).await;
    shim.create(io()).await;
    shim.start("").await.unwrap();
    let exec = "trap 'echo third; exit 0' USR1; echo ready; while :; do sleep 1; done";
    shim.exec("e", &["sh", "-c", exec], io()).await.unwrap();
    shim.start("e").await.unwrap();
    eventually("all wait for the signal", || lines() == ["ready"; 3]).await;
    shim.kill("", 10, true).await.unwrap();
    assert_eq!((shim.wait("e").await, shim.wait("").await), (0, 0));
    shim.finish().await;
    assert_eq!(lines(), ["first", "ready", "ready", "ready", "second", "third"]);
}

#[tokio::test]
async fn one_that_runc_finds_in_no_group_is_killed_all_the_same() {
    let node = Node::new();
    let blind = node.path("blind");
    let text = "#!/bin/sh\ncase \" $* \" in *\" kill \"*) exit 0;; esac\nexec runc \"$@\"\n";
    script(&blind, text);
    let mut shim = node.shim("p10", &shell("trap '' TERM; while :; do sleep 1; done")).await;
    let binary_name = blind.to_string_lossy().into_owned();
    shim.options = Options { binary_name, ..node.options() };
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    // Other signals reach whom runc finds, and nobody else.
    shim.kill("", 15, true).await.unwrap();
    assert_eq!(shim.state("").await.status(), Status::Running);
    shim.kill("", 9, true).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
}
