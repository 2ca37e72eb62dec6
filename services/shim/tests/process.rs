//! The shim as a process: how it is started, shared, killed and cleaned up after.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and starts programs"
)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::task::v3 as wire;
use berth_proto::containerd::v1::types::Status;
use common::*;
use prost::Message;

/// Parent and state of a process, as its stat line has them.
fn stat(pid: u32) -> Option<(u32, char)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// The children of a process that have ended and that it has not waited for.
fn zombies(parent: u32) -> Vec<u32> {
    let names = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid) == Some((parent, 'Z'))).collect()
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn what_a_killed_shim_leaves_is_cleaned_up() {
    let node = Node::new();
    let shim = node.shim("k1", &spec(&["sleep", "1000"])).await;
    let pid = shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    signal(shim.pid().await, rustix::process::Signal::KILL);
    shim.client.closed().await;
    assert!(mounted(&shim.bundle));
    let output = Command::new(SHIM)
        .args(["-namespace", NAMESPACE, "-address", "/none", "-id", "k1", "-bundle"])
        .arg(&shim.bundle)
        .arg("delete")
        .current_dir(&shim.bundle)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer = wire::DeleteResponse::decode(&output.stdout[..]).unwrap();
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert!(!mounted(&shim.bundle));
    assert!(!node.path("runc").join(NAMESPACE).join("k1").exists());
}

#[tokio::test]
async fn what_is_killed_before_its_start_has_ended_and_start_says_so() {
    let node = Node::new();
    let shim = node.shim("k2", &spec(&["sleep", "1000"])).await;
    let pid = shim.create(Io::default()).await;
    signal(pid, rustix::process::Signal::KILL);
    assert_eq!(shim.wait("").await, 137);
    let state = shim.state("").await;
    assert_eq!((state.status(), state.exit_status, state.pid), (Status::Stopped, 137, pid));
    let text = "cannot start a stopped process: the first process of container k2 ended before it was \
                started, with exit status 137 (killed by signal 9), delete the task and create it again";
    assert_eq!(shim.start("").await.unwrap_err().to_string(), text);
    shim.exec("e", &["true"], Io::default()).await.unwrap_err();
    shim.finish().await;
    node.events.wait("/tasks/delete").await;
    assert_eq!(node.events.topics(), ["/tasks/create", "/tasks/exit", "/tasks/delete"]);

    // As soon as it has ended, whoever comes first: runc, or the shim that reaps it.
    for round in 0..5 {
        let shim = node.shim(&format!("k3-{round}"), &spec(&["sleep", "1000"])).await;
        let pid = shim.create(Io::default()).await;
        signal(pid, rustix::process::Signal::KILL);
        let error = shim.start("").await.unwrap_err().to_string();
        assert!(error.contains("ended before it was started, with exit status 137"), "{error}");
        assert_eq!(shim.wait("").await, 137);
        shim.finish().await;
    }
}

#[tokio::test]
async fn containers_of_a_pod_share_a_shim() {
    let node = Node::new();
    let mut pod = spec(&["sleep", "1000"]);
    pod["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
    let first = node.shim("a", &pod).await;
    let second = node.shim("b", &pod).await;
    assert_eq!(first.socket, second.socket);
    assert_eq!(first.pid().await, second.pid().await);
    for shim in [&first, &second] {
        shim.create(Io::default()).await;
        shim.start("").await.unwrap();
    }
    first.kill("", 9, false).await.unwrap();
    first.wait("").await;
    first.delete("").await.unwrap();
    first.shutdown().await;
    assert_eq!(second.state("").await.status(), Status::Running);
    second.kill("", 9, false).await.unwrap();
    second.wait("").await;
    second.finish().await;
}

#[tokio::test]
async fn what_a_container_leaves_behind_becomes_the_shims_and_no_zombie() {
    let node = Node::new();
    let script = "(setsid sleep 1000 & echo $!); exec sleep 1000";
    let shim = node.shim("z1", &shared_pids(shell(script))).await;
    let told = node.path("told");
    let stdout = format!("file://{}", told.display());
    let init = shim.create(Io { stdout, ..Io::default() }).await;
    shim.start("").await.unwrap();
    let own = shim.pid().await;
    let left = || -> Option<u32> { std::fs::read_to_string(&told).ok()?.trim().parse().ok() };
    eventually("its parent has ended", || left().is_some_and(|pid| stat(pid).is_some())).await;
    let left = left().unwrap();
    eventually("the shim has it", || stat(left).unwrap().0 == own).await;
    assert_eq!(stat(init).unwrap().0, own);
    signal(left, rustix::process::Signal::KILL);
    eventually("it is gone altogether", || stat(left).is_none()).await;
    assert_eq!(shim.state("").await.status(), Status::Running);
    shim.exec("e", &["sh", "-c", "exit 3"], Io::default()).await.unwrap();
    shim.start("e").await.unwrap();
    assert_eq!(shim.wait("e").await, 3);
    shim.kill("", 9, false).await.unwrap();
    shim.wait("").await;
    eventually("all is reaped", || zombies(own).is_empty()).await;
    shim.finish().await;
}

/// Callers that serve no ttrpc have the shim publish through their own program.
#[tokio::test]
async fn without_a_socket_events_go_through_the_callers_program() {
    let node = Node::new();
    let folder = node.path("published");
    std::fs::create_dir(&folder).unwrap();
    let text = format!(
        "#!/bin/sh\ncd {} && echo \"$*\" >>lines && exec cat >\"$(basename \"$5\")\"\n",
        folder.display()
    );
    script(&node.path("publish"), &text);
    let shim = node.shim_telling("x1", &shell("exit 7"), "").await;
    let pid = shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 7);
    shim.finish().await;
    let lines = || std::fs::read_to_string(folder.join("lines")).unwrap_or_default();
    let line = |topic| format!("--address /none publish --topic {topic} --namespace test\n");
    let order = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    let expected: String = order.into_iter().map(line).collect();
    eventually("the last event is published", || lines() == expected).await;
    let exit = prost_types::Any::decode(&*std::fs::read(folder.join("exit")).unwrap()).unwrap();
    let exit = berth_proto::unpack::<berth_proto::containerd::events::TaskExit>(&exit);
    let exit = exit.unwrap().unwrap();
    assert_eq!((exit.container_id.as_str(), exit.pid, exit.exit_status), ("x1", pid, 7));
    assert_eq!(node.events.topics(), Vec::<String>::new());
}

#[tokio::test]
async fn older_callers_get_their_forms_of_answer() {
    let node = Node::new();
    let bundle = node.bundle("f1", &spec(&["sh"]));
    let plain = node.launch("f1", &bundle, b"", &[]);
    let address = String::from_utf8(plain.stdout).unwrap();
    assert!(address.starts_with("unix:///run/containerd/s/"), "{address}");
    assert_eq!(std::fs::read_to_string(bundle.join("address")).unwrap(), address);
    let json = node.launch("f1", &bundle, b"", &[("MAX_SHIM_VERSION", "2")]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let expected = serde_json::json!({"version": 2, "protocol": "ttrpc", "address": address});
    assert_eq!(json, expected);
    let socket = address.strip_prefix("unix://").unwrap();
    let client = berth_ttrpc::Client::connect(socket.as_ref(), LONG).await.unwrap();
    let request = wire::ShutdownRequest::default();
    let _: () = client.call("containerd.task.v2.Task", "Shutdown", &request, LONG).await.unwrap();
    client.closed().await;
}

#[tokio::test]
async fn exits_are_kept_while_nobody_listens_and_events_follow() {
    let mut node = Node::new();
    let shim = node.shim("n1", &shell("exit 5")).await;
    node.deafen().await;
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 5);
    assert_eq!(shim.state("").await.exit_status, 5);
    node.listen();
    node.events.wait("/tasks/exit").await;
    shim.finish().await;
    node.events.wait("/tasks/delete").await;
    let order = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_eq!(node.events.topics(), order);
}

#[tokio::test]
async fn a_terminated_shim_stays_with_its_container() {
    let node = Node::new();
    let shim = node.shim("t1", &spec(&["sleep", "1000"])).await;
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    signal(shim.pid().await, rustix::process::Signal::TERM);
    assert_eq!(shim.state("").await.status(), Status::Running);
    shim.kill("", 9, false).await.unwrap();
    shim.client.closed().await;
    shim.gone().await;
    node.events.wait("/tasks/exit").await;
    let output = Command::new(SHIM)
        .args(["-namespace", NAMESPACE, "-id", "t1", "-bundle"])
        .arg(&shim.bundle)
        .arg("delete")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!mounted(&shim.bundle));
}

#[test]
fn the_runtime_describes_itself() {
    let output = Command::new(SHIM).arg("-info").output().unwrap();
    let info = berth_proto::containerd::types::RuntimeInfo::decode(&output.stdout[..]).unwrap();
    assert_eq!(info.name, "io.containerd.runc.v2");
    let output = Command::new(SHIM).arg("-v").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("berth"));
}

/// A folder of a control group, of the first hierarchy if there are several.
fn cgroup(name: &str) -> std::path::PathBuf {
    let cpu = std::path::Path::new("/sys/fs/cgroup/cpu");
    let root = if cpu.exists() { cpu } else { std::path::Path::new("/sys/fs/cgroup") };
    root.join(name)
}

#[tokio::test]
async fn a_shim_lives_in_the_cgroup_that_it_is_told_or_not_at_all() {
    let node = Node::new();
    let name = format!("berth-shim-{}", std::process::id());
    let options = Options { shim_cgroup: format!("/{name}"), ..node.options() };
    let input = berth_proto::pack(&options).encode_to_vec();
    let bundle = node.bundle("g1", &spec(&["sleep", "1000"]));
    let output = node.launch("g1", &bundle, &input, &[]);
    assert!(!output.status.success());
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(why.contains(&format!("failed to load cgroup /{name}")), "{why}");
    std::fs::create_dir(cgroup(&name)).unwrap();
    let output = node.launch("g1", &bundle, &input, &[]);
    assert!(output.status.success(), "{output:?}");
    let address = String::from_utf8(output.stdout).unwrap();
    let socket = address.strip_prefix("unix://").unwrap();
    let client = berth_ttrpc::Client::connect(socket.as_ref(), LONG).await.unwrap();
    let request = wire::ConnectRequest { id: "g1".into() };
    let shim: wire::ConnectResponse =
        client.call("containerd.task.v3.Task", "Connect", &request, LONG).await.unwrap();
    let members = std::fs::read_to_string(cgroup(&name).join("cgroup.procs")).unwrap();
    assert_eq!(members.trim(), shim.shim_pid.to_string());
    let request = wire::ShutdownRequest::default();
    let _: () = client.call("containerd.task.v3.Task", "Shutdown", &request, LONG).await.unwrap();
    client.closed().await;
    eventually("the group is empty", || std::fs::remove_dir(cgroup(&name)).is_ok()).await;
}

/// Nobody learns of a shim whose caller is gone before it was told: it goes as well.
#[tokio::test]
async fn a_start_that_nobody_listens_to_leaves_no_shim() {
    let node = Node::new();
    let bundle = node.bundle("deaf", &spec(&["sleep", "1000"]));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut start = node.start("deaf", &bundle);
    let status = start.stdin(Stdio::null()).stdout(writer).status().unwrap();
    assert!(!status.success());
    let address = std::fs::read_to_string(bundle.join("address")).unwrap();
    let socket = address.strip_prefix("unix://").unwrap();
    assert!(!std::path::Path::new(socket).exists());
    assert!(std::os::unix::net::UnixStream::connect(socket).is_err());
}

/// Nor does anybody learn of one whose starter is killed before it tells of it.
#[tokio::test]
async fn a_start_that_is_killed_leaves_no_shim() {
    let node = Node::new();
    let bundle = node.bundle("cut", &spec(&["sleep", "1000"]));
    // Where the address is written down, before it is told: the write waits for a reader.
    fifo(&bundle.join("address"));
    let mut start = node.start("cut", &bundle).spawn().unwrap();
    start.stdin.take().unwrap().write_all(&node.params("cut", "/none")).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", start.id());
    let shim = until("a shim", || std::fs::read_to_string(&children).ok()?.trim().parse().ok());
    let shim: u32 = shim.await;
    let sockets = || std::fs::read_dir(node.path("s")).unwrap().count();
    assert_eq!(sockets(), 1);
    start.kill().unwrap();
    start.wait().unwrap();
    until("the end of the shim", || ended(shim).then_some(())).await;
    assert_eq!(sockets(), 0);
}

/// Whether a process has ended. Whoever is to reap it may not have done so yet.
fn ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_err() || status.is_ok_and(|status| status.contains("State:\tZ"))
}

async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            match check() {
                Some(seen) => return seen,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(LONG, seen).await.unwrap_or_else(|_| panic!("not {what}"))
}
