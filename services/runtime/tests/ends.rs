//! How tasks end that were never started, and when they ended. Needs root.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::SystemTime;

use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::events::{TaskDelete, TaskExit};
use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::{pack, unpack};
use berth_testkit::write_program;
use prost_types::Timestamp;
use support::{Node, SOON, ns, shims, signal, until};

const SLEEP: &str = "while :; do busybox sleep 0.05; done";

fn kinds(told: &[String]) -> Vec<&str> {
    told.iter().filter_map(|event| event.split(' ').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_never_started_has_no_start() {
    for shim in shims() {
        let mut node = Node::start().await;
        let never = |id: &str| ["create".to_owned(), format!("exit {id} 137"), "delete 137".into()];

        node.container(&shim, "killed", SLEEP).await;
        node.create("killed").await.unwrap();
        node.kill_task("killed", "", 9).await.unwrap();
        assert_eq!(node.wait("killed", "").await.unwrap(), 137);
        assert_eq!(node.delete("killed").await.unwrap(), 137);
        assert_eq!(node.events_until("killed", "delete 137").await, never("killed"), "{shim}");

        node.container(&shim, "deleted", SLEEP).await;
        node.create("deleted").await.unwrap();
        // Debian's shim may answer before it has seen the end that it brought about.
        let status = node.delete("deleted").await.unwrap();
        let told = node.events_until("deleted", &format!("delete {status}")).await;
        assert_eq!(kinds(&told), ["create", "exit", "delete"], "{shim}: {told:?}");

        node.container(&shim, "orphan", SLEEP).await;
        node.create("orphan").await.unwrap();
        signal(node.shim_pid("orphan"), libc::SIGKILL);
        assert_eq!(node.events_until("orphan", "delete 137").await, never("orphan"), "{shim}");
        until("cleaned up", || !node.bundle("orphan").exists()).await;

        node.container(&shim, "alone", SLEEP).await;
        let pid = node.create("alone").await.unwrap();
        node.kill().await;
        signal(i32::try_from(pid).unwrap(), libc::SIGKILL);
        node.restart();
        assert_eq!(node.wait("alone", "").await.unwrap(), 137);
        assert_eq!(node.delete("alone").await.unwrap(), 137);
        assert_eq!(node.events_until("alone", "delete 137").await, never("alone")[1..], "{shim}");
        node.finish().await;
    }
}

/// A runc that does not start what it has made.
fn starts_nothing(node: &Node) -> Options {
    let program = node.folder.path().join("starts-nothing");
    let text = "#!/bin/sh\ncase \" $* \" in *' start '*) exit 1;; *) exec runc \"$@\";; esac\n";
    write_program(&program, text).unwrap();
    Options { binary_name: program.to_string_lossy().into_owned(), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_is_none() {
    for shim in shims() {
        let node = Node::start().await;
        node.container(&shim, "refused", SLEEP).await;
        let options = Some(pack(&starts_nothing(&node)));
        node.create_with("refused", |request| request.options = options).await.unwrap();
        node.start_task("refused", "").await.unwrap_err();
        let status = node.delete("refused").await.unwrap();
        let told = node.events_until("refused", &format!("delete {status}")).await;
        assert_eq!(kinds(&told), ["create", "exit", "delete"], "{shim}: {told:?}");
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_somebody_deleted_with_runc_has_ended() {
    for shim in shims() {
        let node = Node::start().await;
        node.run(&shim, "taken", SLEEP).await;
        let mut runc = berth_lifecycle::child::command("runc");
        runc.arg("--root").arg(node.folder.path().join("run/runtime/.runc/test"));
        runc.args(["delete", "--force", "taken"]);
        assert!(runc.status().await.unwrap().success());
        assert_eq!(node.wait("taken", "").await.unwrap(), 137, "{shim}");
        assert_eq!(node.delete("taken").await.unwrap(), 137, "{shim}");
        let told = node.events_until("taken", "delete 137").await;
        assert_eq!(told, ["create", "start", "exit taken 137", "delete 137"], "{shim}");
        assert!(!node.bundle("taken").exists(), "{shim}");
        until("its shim is gone", || node.shims_of("taken").is_empty()).await;
        node.finish().await;
    }
}

/// When the task `id` ended, as its events have it.
async fn told_times(node: &Node, id: &str) -> Vec<Option<Timestamp>> {
    let mut client = node::node_events_client::NodeEventsClient::new(node.channel.clone());
    let request = node::NodeSubscribeRequest { from_start: true, ..Default::default() };
    let mut stream = client.subscribe(request).await.unwrap().into_inner();
    let mut times = Vec::new();
    loop {
        let event = tokio::time::timeout(SOON, stream.message()).await.expect("no delete");
        let Some(any) = event.unwrap().unwrap().event else { continue };
        if let Some(Ok(exit)) = unpack::<TaskExit>(&any)
            && exit.container_id == id
        {
            times.push(exit.exited_at);
        }
        if let Some(Ok(deleted)) = unpack::<TaskDelete>(&any)
            && deleted.container_id == id
        {
            times.push(deleted.exited_at);
            return times;
        }
    }
}

/// Reads when a task ended everywhere, deletes it; all say the same.
async fn one_time(node: &Node, id: &str) -> SystemTime {
    let (container_id, exec_id) = (id.to_owned(), String::new());
    let request = wire::WaitRequest { container_id: container_id.clone(), exec_id };
    let waited = node.tasks().wait(ns(request)).await.unwrap().into_inner().exited_at;
    let request = wire::GetRequest { container_id: container_id.clone(), exec_id: String::new() };
    let got = node.tasks().get(ns(request)).await.unwrap().into_inner().process.unwrap();
    let request = wire::DeleteTaskRequest { container_id };
    let deleted = node.tasks().delete(ns(request)).await.unwrap().into_inner().exited_at;
    let told = told_times(node, id).await;
    assert_eq!((&waited, &waited), (&got.exited_at, &deleted));
    assert!(told.len() == 2 && told.iter().all(|told| *told == waited), "{waited:?}: {told:?}");
    berth_grpc::time::from_wire(waited.as_ref()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_say_the_same_of_when_a_task_ended() {
    for shim in shims() {
        let mut node = Node::start().await;
        node.run(&shim, "timed", SLEEP).await;
        let before = SystemTime::now();
        node.kill_task("timed", "", 9).await.unwrap();
        node.wait("timed", "").await.unwrap();
        let after = SystemTime::now();
        let ended = one_time(&node, "timed").await;
        assert!(before <= ended && ended <= after, "{shim}: {before:?} {ended:?} {after:?}");

        // Nobody but its shim sees the end.
        let pid = i32::try_from(node.run(&shim, "unseen", SLEEP).await).unwrap();
        node.kill().await;
        signal(pid, libc::SIGKILL);
        let seen = node.ended_in_shim("unseen").await;
        node.restart();
        let ended = one_time(&node, "unseen").await;
        assert_eq!(Some(ended), berth_grpc::time::from_wire(seen.as_ref()), "{shim}");
        node.finish().await;
    }
}
