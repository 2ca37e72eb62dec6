//! The life of a container and of what is executed in it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write;

use berth_errors::{Code, Coded};
use berth_proto::containerd::runc::v1::ProcessDetails;
use berth_proto::containerd::task::v3 as wire;
use berth_proto::containerd::v1::types::Status;
use common::*;

#[tokio::test]
async fn a_container_lives_and_tells_of_it_in_order() {
    let node = Node::new();
    let shim = node.shim("c1", &shell("echo out; echo err >&2; exit 7")).await;
    let stdout = fifo(&node.path("out"));
    let stderr = fifo(&node.path("err"));
    let pid = shim.create(Io { stdout: stdout.clone(), stderr: stderr.clone(), ..Io::default() });
    let pid = pid.await;
    assert!(pid > 1);
    let state = shim.state("").await;
    assert_eq!((state.status(), state.pid), (Status::Created, pid));
    let (out, err) = (background(read(stdout)), background(read(stderr)));
    assert_eq!(shim.start("").await.unwrap(), pid);
    assert_eq!(shim.wait("").await, 7);
    assert_eq!((out.await, err.await), ("out\n".into(), "err\n".into()));
    let state = shim.state("").await;
    assert_eq!((state.status(), state.exit_status), (Status::Stopped, 7));
    shim.finish().await;
    node.events.wait("/tasks/delete").await;
    let order = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_eq!(node.events.topics(), order);
    assert_eq!(exits(&node.events), [("c1".to_owned(), 7)]);
    assert_eq!(deletes(&node.events), [7]);
}

#[tokio::test]
async fn processes_are_executed_listed_and_fed() {
    let node = Node::new();
    let shim = node.shim("c2", &spec(&["sleep", "1000"])).await;
    let init = shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    let (stdin, stdout) = (fifo(&node.path("in")), fifo(&node.path("out")));
    let io = Io { stdin: stdin.clone(), stdout: stdout.clone(), ..Io::default() };
    shim.exec("e1", &["cat"], io).await.unwrap();
    assert_eq!(shim.state("e1").await.status(), Status::Created);
    let pid = shim.start("e1").await.unwrap();
    let answer: wire::PidsResponse =
        shim.call("Pids", &wire::PidsRequest { id: "c2".into() }).await.unwrap();
    let mut pids: Vec<_> = answer.processes.iter().map(|one| one.pid).collect();
    pids.sort_unstable();
    let mut expected = vec![init, pid];
    expected.sort_unstable();
    assert_eq!(pids, expected);
    let listed = answer.processes.iter().find(|one| one.pid == pid).unwrap();
    let details = berth_proto::unpack::<ProcessDetails>(listed.info.as_ref().unwrap());
    assert_eq!(details.unwrap().unwrap().exec_id, "e1");

    let output = background(read(stdout));
    let mut feed = std::fs::File::options().write(true).open(&stdin).unwrap();
    feed.write_all(b"hello").unwrap();
    drop(feed);
    // A client that goes away ends nothing; one that says so does.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(shim.state("e1").await.status(), Status::Running);
    let close = wire::CloseIoRequest { id: "c2".into(), exec_id: "e1".into(), stdin: true };
    let _: () = shim.call("CloseIO", &close).await.unwrap();
    assert_eq!(shim.wait("e1").await, 0);
    assert_eq!(output.await, "hello");
    assert_eq!(shim.delete("e1").await.unwrap().pid, pid);

    shim.exec("e2", &["sh", "-c", "exit 3"], Io::default()).await.unwrap();
    let taken = shim.exec("e2", &["sh"], Io::default()).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    shim.start("e2").await.unwrap();
    assert_eq!(shim.wait("e2").await, 3);

    shim.exec("e3", &["/no/such"], Io::default()).await.unwrap();
    let error = shim.start("e3").await.unwrap_err().to_string();
    assert!(error.starts_with("OCI runtime exec failed: exec failed: "), "{error}");
    assert!(error.contains("/no/such"), "{error}");
    shim.wait("e3").await;
    shim.delete("e3").await.unwrap();

    shim.exec("e4", &["sleep", "1000"], Io::default()).await.unwrap();
    shim.start("e4").await.unwrap();
    shim.kill("e4", 15, false).await.unwrap();
    assert_eq!(shim.wait("e4").await, 143);

    // The last one ends with its container, and before it.
    shim.exec("e5", &["sleep", "1000"], Io::default()).await.unwrap();
    shim.start("e5").await.unwrap();
    let error = shim.delete("").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot delete a running process");
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    let gone = shim.kill("", 9, false).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    shim.finish().await;
    node.events.wait("/tasks/delete").await;
    let order = [("e1", 0), ("e2", 3), ("e4", 143), ("e5", 137), ("c2", 137)];
    assert_eq!(exits(&node.events), order.map(|(id, status)| (id.to_owned(), status)));
}

#[tokio::test]
async fn a_missing_program_fails_create_in_runcs_words_and_leaves_nothing() {
    let node = Node::new();
    let shim = node.shim("c3", &spec(&["/no/such"])).await;
    let error = shim.try_create(Io::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unknown);
    let text = error.to_string();
    assert!(text.starts_with("OCI runtime create failed: "), "{text}");
    assert!(text.contains("\"/no/such\": stat /no/such: no such file or directory"), "{text}");
    assert!(!mounted(&shim.bundle));
    let missing = shim.delete("").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    shim.shutdown().await;
    shim.gone().await;
}

#[tokio::test]
async fn a_created_container_is_deleted_without_a_start() {
    let node = Node::new();
    let shim = node.shim("c4", &spec(&["sleep", "1000"])).await;
    shim.create(Io::default()).await;
    shim.finish().await;
    node.events.wait("/tasks/delete").await;
    assert_eq!(node.events.topics(), ["/tasks/create", "/tasks/exit", "/tasks/delete"]);
}

#[tokio::test]
async fn processes_of_the_hosts_namespace_are_killed_with_the_first() {
    let node = Node::new();
    let shim = node.shim("c5", &shared_pids(shell("sleep 1000 & echo $!; exit 0"))).await;
    let stdout = fifo(&node.path("out"));
    shim.create(Io { stdout: stdout.clone(), ..Io::default() }).await;
    let output = background(read(stdout));
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    let left = output.await.trim().to_owned();
    // It closed its output as it died, and is reaped after that.
    eventually("it is gone", || !std::path::Path::new("/proc").join(&left).exists()).await;
    shim.finish().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_both_directions() {
    let node = Node::new();
    let shim = node.shim("c6", &terminal(spec(&["sh"]))).await;
    let (stdin, stdout) = (fifo(&node.path("in")), fifo(&node.path("out")));
    let io = Io { stdin: stdin.clone(), stdout: stdout.clone(), terminal: true, ..Io::default() };
    shim.create(io).await;
    let output = background(read(stdout));
    shim.start("").await.unwrap();
    let size =
        wire::ResizePtyRequest { id: "c6".into(), exec_id: String::new(), width: 99, height: 31 };
    let _: () = shim.call("ResizePty", &size).await.unwrap();
    let mut feed = std::fs::File::options().write(true).open(&stdin).unwrap();
    feed.write_all(b"stty size; exit 4\n").unwrap();
    assert_eq!(shim.wait("").await, 4);
    assert!(output.await.contains("31 99"));
    shim.finish().await;
}
