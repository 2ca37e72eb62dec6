//! Tasks through the real service, real shims and real runc. Needs root.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use berth_proto::containerd::events::TaskExit;
use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::v1::types::Status;
use support::told::envelope;
use support::{Node, SOON, ns, process, shims, signal, until};
use tonic::Code;

const RUNNING: i32 = Status::Running as i32;
const SLEEP: &str = "while :; do busybox sleep 0.05; done";
/// Ends with 5 at SIGTERM, which it listens for once `/tmp/listens` is there: before, its kernel
/// drops it, as of any first process of a namespace.
const LISTENS: &str = "trap 'exit 5' TERM; : >/tmp/listens; while :; do busybox sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_in_order() {
    for shim in shims() {
        let node = Node::start().await;
        node.container(&shim, "life", LISTENS).await;
        let missing = node.start_task("life", "").await.unwrap_err();
        assert_eq!((missing.code(), missing.message()), (Code::NotFound, "task life not found"));
        node.create("life").await.unwrap();
        assert_eq!(node.list().await, [("life".to_owned(), Status::Created as i32)]);
        let again = node.create("life").await.unwrap_err();
        assert_eq!(
            (again.code(), again.message()),
            (Code::AlreadyExists, "task life: already exists")
        );
        node.start_task("life", "").await.unwrap();
        assert_eq!(node.list().await, [("life".to_owned(), RUNNING)]);
        let running = node.delete("life").await.unwrap_err();
        let words = "failed to delete task: cannot delete a running process";
        assert_eq!((running.code(), running.message()), (Code::Unknown, words), "{shim}");
        let listens = node.folder.path().join("image/tmp/listens");
        until("it listens", || listens.exists()).await;
        node.kill_task("life", "", 15).await.unwrap();
        assert_eq!(node.wait("life", "").await.unwrap(), 5);
        assert_eq!(node.delete("life").await.unwrap(), 5);
        assert!(!node.bundle("life").exists());
        let told = node.events_until("life", "delete 5").await;
        assert_eq!(told, ["create", "start", "exit life 5", "delete 5"], "{shim}");
        node.finish().await;
    }
}

/// Adds a process to a task.
async fn add(node: &Node, id: &str, exec: &str, process: serde_json::Value) {
    let spec = prost_types::Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
        value: process.to_string().into_bytes(),
    };
    let request = wire::ExecProcessRequest {
        container_id: id.into(),
        exec_id: exec.into(),
        spec: Some(spec),
        ..Default::default()
    };
    node.tasks().exec(ns(request)).await.unwrap();
}

/// Nobody is to take the end of a process that never was for the end of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_ran_has_no_end() {
    for shim in shims() {
        let node = Node::start().await;
        node.run(&shim, "host", SLEEP).await;
        let mut missing = process("");
        missing["args"] = serde_json::json!(["/no/such"]);
        add(&node, "host", "fails", missing).await;
        node.start_task("host", "fails").await.unwrap_err();
        add(&node, "host", "waits", process("exit 7")).await;
        for exec in ["fails", "waits"] {
            let (container_id, exec_id) = ("host".into(), exec.into());
            let request = ns(wire::DeleteProcessRequest { container_id, exec_id });
            node.tasks().delete_process(request).await.unwrap();
        }
        add(&node, "host", "left", process("exit 7")).await;
        let killing = async {
            // The wait went before it on the same connection: it is taken when this is answered.
            assert_eq!(node.list().await.len(), 1);
            signal(node.shim_pid("host"), libc::SIGKILL);
        };
        let (waited, ()) = tokio::join!(node.wait("host", "left"), killing);
        assert_eq!(waited.unwrap_err().code(), tonic::Code::NotFound, "{shim}");
        let told = node.events_until("host", "delete 137").await;
        let added = ["fails", "waits", "left"].map(|exec| format!("exec-added {exec}"));
        let all = ["create", "start"].map(str::to_owned).into_iter().chain(added);
        let all: Vec<_> = all.chain(["exit host 137", "delete 137"].map(str::to_owned)).collect();
        assert_eq!(told, all, "{shim}");
        until("cleaned up", || !node.bundle("host").exists()).await;
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_added_and_deleted() {
    for shim in shims() {
        let node = Node::start().await;
        node.run(&shim, "added-to", SLEEP).await;
        for _ in 0..2 {
            add(&node, "added-to", "e", process("exit 7")).await;
            node.start_task("added-to", "e").await.unwrap();
            assert_eq!(node.wait("added-to", "e").await.unwrap(), 7);
            let (container_id, exec_id) = ("added-to".into(), "e".into());
            let request = ns(wire::DeleteProcessRequest { container_id, exec_id });
            let deleted = node.tasks().delete_process(request).await.unwrap().into_inner();
            assert_eq!((deleted.id.as_str(), deleted.exit_status), ("e", 7));
        }
        let pids = ns(wire::ListPidsRequest { container_id: "added-to".into() });
        assert!(!node.tasks().list_pids(pids).await.unwrap().into_inner().processes.is_empty());
        let metrics = ns(wire::MetricsRequest { filters: vec!["id==added-to".into()] });
        let metrics = node.tasks().metrics(metrics).await.unwrap().into_inner().metrics;
        assert_eq!(metrics.len(), 1);
        node.kill_task("added-to", "", 9).await.unwrap();
        assert_eq!(node.wait("added-to", "").await.unwrap(), 137);
        node.delete("added-to").await.unwrap();
        let told = node.events_until("added-to", "delete 137").await;
        let once = ["exec-added e", "exec-started e", "exit e 7"];
        let all =
            [&["create", "start"], &once[..], &once[..], &["exit added-to 137", "delete 137"]];
        assert_eq!(told, all.concat(), "{shim}");
        node.finish().await;
    }
}

/// A service that is killed while a shim deletes its task at its request leaves the rest to the next
/// one, which may have looked at the shim before that was done.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_shim_deleted_for_an_earlier_run_is_taken_away() {
    for shim in shims() {
        let node = Node::start().await;
        for id in ["told", "asked"] {
            node.run(&shim, id, "exit 3").await;
            assert_eq!(node.wait(id, "").await.unwrap(), 3);
        }
        node.delete_in_shim("told").await;
        until("the shim is gone", || node.shims_of("told").is_empty()).await;
        assert_eq!(node.events_until("told", "delete 3").await.last().unwrap(), "delete 3");
        node.gone("told").await;
        assert_eq!(node.delete("told").await.unwrap_err().code(), Code::NotFound, "{shim}");

        node.delete_in_shim("asked").await;
        let deleted = node.delete("asked").await;
        assert!(matches!(&deleted, Ok(3)) || deleted.unwrap_err().code() == Code::NotFound);
        until("the shim is gone", || node.shims_of("asked").is_empty()).await;
        assert!(!node.bundle("asked").exists());
        assert_eq!(
            node.events_until("asked", "delete 3").await,
            ["create", "start", "exit asked 3", "delete 3"]
        );
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_finds_its_tasks_again() {
    for shim in shims() {
        let mut node = Node::start().await;
        node.run(&shim, "stays", SLEEP).await;
        let go = "while [ ! -e /tmp/go ]; do busybox sleep 0.05; done; exit 3";
        let pid = node.run(&shim, "ends", go).await;
        node.events_until("ends", "start").await;
        node.kill().await;
        // It ends while nobody is there to hear of it.
        std::fs::write(node.folder.path().join("image/tmp/go"), "").unwrap();
        node.ended_in_shim("ends").await;
        node.restart();
        assert_eq!(node.wait("ends", "").await.unwrap(), 3);
        assert_eq!(node.events_until("ends", "exit ends 3").await, ["exit ends 3"], "{shim}");
        assert_eq!(node.list().await.iter().find(|t| t.0 == "stays").unwrap().1, RUNNING);
        // What the shim itself still has to say is not told again.
        let (container_id, id) = ("ends".to_owned(), "ends".to_owned());
        let exit = TaskExit { container_id, id, pid, exit_status: 3, exited_at: None };
        node.forward(envelope("/tasks/exit", &exit)).await.unwrap();
        assert_eq!(node.events("ends").await, ["exit ends 3"], "{shim}");
        node.kill_and_restart().await;
        assert_eq!(node.wait("ends", "").await.unwrap(), 3);
        assert_eq!(node.delete("ends").await.unwrap(), 3);
        assert_eq!(node.events_until("ends", "delete 3").await, ["delete 3"], "{shim}");
        node.kill_task("stays", "", 9).await.unwrap();
        assert_eq!(node.wait("stays", "").await.unwrap(), 137);
        node.delete("stays").await.unwrap();
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_ends_its_task() {
    for shim in shims() {
        let mut node = Node::start().await;
        let pid = node.run(&shim, "orphan", SLEEP).await;
        let waiting = node.tasks();
        let waiting = async move {
            let (container_id, exec_id) = ("orphan".into(), String::new());
            let mut waiting = waiting;
            waiting.wait(ns(wire::WaitRequest { container_id, exec_id })).await
        };
        let killing = async {
            // The wait went before it on the same connection: it is taken when this is answered.
            assert_eq!(node.list().await.len(), 1);
            signal(node.shim_pid("orphan"), libc::SIGKILL);
        };
        let both = async { tokio::join!(waiting, killing) };
        let (waited, ()) = tokio::time::timeout(SOON, both).await.unwrap();
        assert_eq!(waited.unwrap().into_inner().exit_status, 137, "{shim}");
        let told = node.events_until("orphan", "delete 137").await;
        assert_eq!(told, ["create", "start", "exit orphan 137", "delete 137"], "{shim}");
        node.gone("orphan").await;
        until("dead", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
        assert_eq!(node.list().await, []);
        // The name is free, and a shim that dies while nobody is there is buried as well.
        node.create("orphan").await.unwrap();
        node.start_task("orphan", "").await.unwrap();
        node.events_until("orphan", "start").await;
        node.kill().await;
        signal(node.shim_pid("orphan"), libc::SIGKILL);
        node.restart();
        let told = node.events_until("orphan", "delete 137").await;
        assert_eq!(told, ["exit orphan 137", "delete 137"], "{shim}");
        until("cleaned up", || !node.bundle("orphan").exists()).await;
        node.finish().await;
    }
}

/// Waits until the tasks `stuck` and `well` are listed as that: the latter's shim may take long, too.
async fn stuck_is_listed(node: &Node) {
    let expected = [("stuck".to_owned(), Status::Unknown as i32), ("well".to_owned(), RUNNING)];
    let listing = async { while node.list_at_once().await != expected {} };
    tokio::time::timeout(SOON, listing).await.expect("one of them is not what it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_shim_holds_up_nobody() {
    for shim in shims() {
        let mut node = Node::start().await;
        node.run(&shim, "stuck", SLEEP).await;
        node.run(&shim, "well", SLEEP).await;
        let shim_pid = node.shim_pid("stuck");
        support::stop(shim_pid).await;
        stuck_is_listed(&node).await;
        node.kill_and_restart().await;
        stuck_is_listed(&node).await;
        signal(shim_pid, libc::SIGCONT);
        for id in ["stuck", "well"] {
            node.kill_task(id, "", 9).await.unwrap();
            assert_eq!(node.wait(id, "").await.unwrap(), 137);
            node.delete(id).await.unwrap();
        }
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_leaves_nothing_and_the_name_free() {
    for shim in shims() {
        let node = Node::start().await;
        let mut broken = support::container(&shim, "again", SLEEP);
        broken.spec.as_mut().unwrap().value = b"{ not json".to_vec();
        let request = berth_proto::containerd::services::containers::v1::CreateContainerRequest {
            container: Some(broken),
        };
        node.containers().create(ns(request)).await.unwrap();
        node.create("again").await.unwrap_err();
        assert!(!node.bundle("again").exists());
        assert_eq!(node.list().await, []);
        let delete = berth_proto::containerd::services::containers::v1::DeleteContainerRequest {
            id: "again".into(),
        };
        node.containers().delete(ns(delete)).await.unwrap();
        node.run(&shim, "again", "exit 0").await;
        assert_eq!(node.wait("again", "").await.unwrap(), 0);
        node.delete("again").await.unwrap();
        node.finish().await;
    }
    let node = Node::start().await;
    node.container("io.example.nowhere.v1", "lost", SLEEP).await;
    let lost = node.create("lost").await.unwrap_err();
    assert_eq!(lost.code(), Code::Unknown);
    let text = "failed to start shim: failed to resolve runtime path: runtime \
                \"io.example.nowhere.v1\" binary not installed \
                \"containerd-shim-nowhere-v1\": file does not exist";
    assert_eq!(lost.message(), text);
    for (path, text) in [
        ("/no/such", "invalid custom binary path: stat /no/such: no such file or directory"),
        ("a/b", "invalid runtime name a/b, correct runtime name should be either format like"),
    ] {
        let lost = node.create_with("lost", |request| request.runtime_path = path.into()).await;
        let text = format!("failed to start shim: failed to resolve runtime path: {text}");
        assert!(lost.unwrap_err().message().starts_with(&text), "{path}");
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_cut_off_is_finished() {
    let mut node = Node::start().await;
    node.run(&shims().remove(0), "kept", SLEEP).await;
    node.kill().await;
    let half = node.bundle(".gone");
    std::fs::create_dir_all(half.join("rootfs")).unwrap();
    node.restart();
    assert_eq!(node.list().await, [("kept".to_owned(), RUNNING)]);
    assert!(!half.exists());
    node.kill_task("kept", "", 9).await.unwrap();
    assert_eq!(node.wait("kept", "").await.unwrap(), 137);
    node.delete("kept").await.unwrap();
    node.finish().await;
}

/// Killed at any moment of a creation the service finds on its next start what became of it: a
/// task that can be deleted, or none and no shim.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_was_cut_off_leaves_a_task_or_nothing() {
    let shim = shims().pop().unwrap();
    let mut node = Node::start().await;
    for moment in 0..12 {
        node.container(&shim, "cut", SLEEP).await;
        let created = async {
            let pause = tokio::time::sleep(std::time::Duration::from_millis(moment * 8));
            tokio::select! {
                created = node.create("cut") => drop(created),
                // The moment of the kill is what the test is about.
                () = pause => {}
            }
        };
        created.await;
        node.kill_and_restart().await;
        match node.delete("cut").await {
            Ok(_) => {}
            Err(none) => assert_eq!(none.code(), Code::NotFound, "{none}"),
        }
        until("the shim is gone", || node.shims_of("cut").is_empty()).await;
        until("the folder is gone", || !node.bundle("cut").exists()).await;
        let delete = berth_proto::containerd::services::containers::v1::DeleteContainerRequest {
            id: "cut".into(),
        };
        node.containers().delete(ns(delete)).await.unwrap();
    }
    node.finish().await;
}
