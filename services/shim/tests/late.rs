//! runc that does not end: it is killed before its caller has gone, with all that it had started, and the
//! caller is told what to look for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_proto::containerd::task::v3 as wire;
use berth_proto::containerd::v1::types::Status;
use common::*;
use rustix::process::{Pid, Signal};
use serde_json::json;

/// How long a caller here waits; runc has three quarters of it.
const WAITS: Duration = Duration::from_secs(16);

/// Has whoever reads the image's users wait for ever: for what is typed at a terminal that nobody has.
fn hold_up_readers(node: &Node) {
    std::fs::create_dir_all(node.path("image/etc")).unwrap();
    std::os::unix::fs::symlink("/dev/ptmx", node.path("image/etc/passwd")).unwrap();
}

/// A hook that does not end, and that has processes of its own.
fn endless(text: &str) -> serde_json::Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", text] }])
}

/// Control groups of a container, as `Node::bundle` names them, in whichever hierarchies there are.
fn groups(id: &str) -> Vec<PathBuf> {
    let name = format!("berth-test/{}-{id}", std::process::id());
    let root = PathBuf::from("/sys/fs/cgroup");
    let folders = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let all = folders.chain([root.clone()]).map(|folder| folder.join(&name));
    all.filter(|folder| folder.exists()).collect()
}

fn in_a_group(id: &str) -> bool {
    let procs = |folder: &PathBuf| std::fs::read_to_string(folder.join("cgroup.procs"));
    groups(id).iter().any(|folder| procs(folder).is_ok_and(|pids| !pids.is_empty()))
}

fn signal(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// What is left of a process's children, and of what these left behind, as the shim is a reaper.
fn children(parent: u32) -> Vec<String> {
    let parent = parent.to_string();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let is = |stat: &String| {
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().nth(1));
        fields.flatten() == Some(&parent)
    };
    stats.filter(is).collect()
}

/// The error says which container, which step and what to do.
fn told(error: &berth_ttrpc::Error, id: &str, verb: &str, advice: &str) {
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    let text = error.to_string();
    for part in [format!("container {id}: runc {verb} did not end within 1"), advice.to_owned()] {
        assert!(text.contains(&part), "no {part:?} in {text}");
    }
}

async fn nothing_is_left(node: &Node, shim: &Shim) {
    assert_eq!(groups(&shim.id), Vec::<PathBuf>::new());
    assert!(!node.path("runc").join(NAMESPACE).join(&shim.id).exists());
    assert!(!mounted(&shim.bundle));
    let pid = shim.pid().await;
    eventually("its processes are gone", || children(pid).is_empty()).await;
    assert_eq!(shim.delete("").await.unwrap_err().code(), Code::NotFound);
}

/// Creates a container; meanwhile what has begun is seen to be there.
async fn create_late(shim: &Shim, there: impl Fn() -> bool) -> berth_ttrpc::Error {
    let seen = eventually("it has begun", there);
    let (made, ()) = tokio::join!(shim.try_create_within(WAITS, Io::default()), seen);
    made.unwrap_err()
}

#[tokio::test]
async fn an_image_that_holds_up_runc_leaves_nothing_and_the_next_is_made() {
    let node = Node::new();
    hold_up_readers(&node);
    let shim = node.shim("late1", &spec(&["sleep", "1000"])).await;
    let error = create_late(&shim, || in_a_group("late1")).await;
    told(&error, "late1", "create", "/etc/passwd that is a link to a device");
    nothing_is_left(&node, &shim).await;

    std::fs::remove_file(node.path("image/etc/passwd")).unwrap();
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
    node.events.wait("/tasks/delete").await;
    let order = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_eq!(node.events.topics(), order);
}

/// runc has not written down the container by then: what it had made it could not be asked to delete.
#[tokio::test]
async fn a_hook_that_does_not_end_is_killed_with_what_it_began() {
    let node = Node::new();
    let begun = node.path("begun");
    // One of them is in a group within that of the container.
    let group = format!("berth-test/{}-late2", std::process::id());
    let hook = format!(
        "(sleep 1000; true) & sleep 1002 & for g in /sys/fs/cgroup/{group} /sys/fs/cgroup/*/{group}; do \
         [ -d $g ] && mkdir $g/in && {{ echo $! >$g/in/cgroup.procs || rmdir $g/in; }}; done; \
         ls -d /sys/fs/cgroup/{group}/in /sys/fs/cgroup/*/{group}/in >{nested}; \
         echo >{begun}; (sleep 1001; true); true",
        nested = node.path("nested").display(),
        begun = begun.display()
    );
    let mut hooked = spec(&["sleep", "1000"]);
    hooked["hooks"] = json!({ "createRuntime": endless(&hook) });
    let shim = node.shim("late2", &hooked).await;
    let error = create_late(&shim, || begun.exists() && in_a_group("late2")).await;
    told(&error, "late2", "create", "look for a hook that does not end");
    let nested = std::fs::read_to_string(node.path("nested")).unwrap();
    assert!(nested.contains("-late2/in"), "{nested}");
    nothing_is_left(&node, &shim).await;
    shim.shutdown().await;
    shim.gone().await;
}

#[tokio::test]
async fn an_exec_that_is_held_up_harms_not_its_container() {
    let node = Node::new();
    let shim = node.shim("late3", &spec(&["sleep", "1000"])).await;
    let init = shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    hold_up_readers(&node);
    shim.exec("e", &["true"], Io::default()).await.unwrap();
    let pids = async || {
        let request = wire::PidsRequest { id: shim.id.clone() };
        let answer: wire::PidsResponse = shim.call("Pids", &request).await.unwrap();
        answer.processes.iter().map(|one| one.pid).collect::<Vec<_>>()
    };
    let error = shim.start_within(WAITS, "e").await.unwrap_err();
    told(&error, "late3", "exec", "/etc/passwd that is a link to a device");
    let own = shim.pid().await;
    eventually("its processes are gone", || children(own).len() == 1).await;
    assert_eq!(pids().await, [init]);
    assert_eq!(shim.wait("e").await, 127);
    assert_eq!(shim.state("").await.status(), Status::Running);
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
}

/// Nobody would know that it runs.
#[tokio::test]
async fn a_start_that_is_held_up_ends_what_it_started() {
    let node = Node::new();
    let shim = node.shim("late4", &spec(&["sleep", "1000"])).await;
    let init = shim.create(Io::default()).await;
    signal(init, Signal::STOP);
    let error = shim.start_within(WAITS, "").await.unwrap_err();
    told(&error, "late4", "start", "look for what holds up its first process");
    assert_eq!(shim.wait("").await, 137);
    let state = shim.state("").await;
    assert_eq!((state.status(), state.exit_status), (Status::Stopped, 137));
    let own = shim.pid().await;
    eventually("runc is gone", || children(own).is_empty()).await;
    shim.finish().await;
}
