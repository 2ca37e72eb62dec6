//! Sandboxes that run: the controller, real shims, and containers that join them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types::Sandbox;
use berth_testkit::write_program;
use support::sandbox::{Pod, SHIM};
use support::{Node, ns, signal, until};
use tonic::Code;

const DEBIANS: &str = "/usr/bin/containerd-shim-runc-v2";

/// Ours, over ttrpc and over gRPC.
fn shims() -> Vec<String> {
    let shims: Vec<_> = support::shims().into_iter().filter(|shim| shim != DEBIANS).collect();
    assert_eq!(shims.len(), 2, "build all programs first");
    shims
}

/// One that the service's own controller runs.
fn own(node: &Node, shim: &str, id: &str) -> Pod {
    Pod::new(node, SHIM, shim, id)
}

fn folder(node: &Node, id: &str) -> std::path::PathBuf {
    node.folder.path().join("run/runtime/.sandboxes/test").join(id)
}

fn address(folder: &std::path::Path) -> String {
    let text = std::fs::read(folder.join("bootstrap.json")).unwrap();
    let shim: serde_json::Value = serde_json::from_slice(&text).unwrap();
    format!("{}+{}", shim["protocol"].as_str().unwrap(), shim["address"].as_str().unwrap())
}

async fn end_task(node: &Node, id: &str) {
    node.kill_task(id, "", 9).await.unwrap();
    assert_eq!(node.wait(id, "").await.unwrap(), 137);
    node.delete(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_join_the_shim_of_their_sandbox_also_after_a_kill() {
    for shim in shims() {
        let mut node = Node::start().await;
        let pod = own(&node, &shim, "sb1");
        pod.make().await;
        assert_eq!(pod.status().await.unwrap().state, "SANDBOX_NOTREADY");
        let started = pod.start().await.unwrap();
        assert_eq!(
            (started.address.as_str(), started.version),
            (address(&folder(&node, &pod.id)).as_str(), 3)
        );
        assert!(started.pid > 0 && started.created_at.is_some());
        assert_eq!(pod.platform().await.unwrap().platform.unwrap().os, "linux");
        pod.member(&node, "sb1c1").await;
        node.create("sb1c1").await.unwrap();
        node.start_task("sb1c1", "").await.unwrap();
        assert_eq!(address(&node.bundle("sb1c1")), started.address);
        assert_eq!(std::fs::read(node.bundle("sb1c1").join("sandbox")).unwrap(), b"sb1");
        assert_eq!(node.shims_of("sb1c1"), Vec::<i32>::new());

        node.kill_and_restart().await;
        let pod = own(&node, &shim, "sb1");
        let status = pod.status().await.unwrap();
        assert_eq!(
            (status.state.as_str(), status.address),
            ("SANDBOX_READY", started.address.clone())
        );
        assert_eq!(node.list().await, [("sb1c1".to_owned(), 2)]);
        pod.member(&node, "sb1c2").await;
        node.create("sb1c2").await.unwrap();
        assert_eq!(address(&node.bundle("sb1c2")), started.address);
        node.start_task("sb1c2", "").await.unwrap();
        assert_eq!(pod.stop().await.unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(pod.shutdown().await.unwrap_err().code(), Code::FailedPrecondition);
        end_task(&node, "sb1c1").await;
        end_task(&node, "sb1c2").await;

        // It outlives its containers.
        assert_eq!(pod.status().await.unwrap().state, "SANDBOX_READY");
        let (waited, stopped) = tokio::join!(pod.wait(), pod.stop());
        stopped.unwrap();
        assert_eq!(waited.unwrap().exit_status, 0);
        assert!(pod.wait().await.unwrap().exited_at.is_some());
        pod.shutdown().await.unwrap();
        assert!(!folder(&node, &pod.id).exists());
        until("the shim is gone", || node.shims_of("sb1").is_empty()).await;
        let told = node.events("sb1").await;
        assert_eq!(told, ["sandbox exit 0"], "{shim}");
        assert_eq!(pod.wait().await.unwrap_err().code(), Code::NotFound);
        assert_eq!(pod.shutdown().await.unwrap_err().code(), Code::NotFound);
        pod.stop().await.unwrap();
        let ended = pod.status().await.unwrap();
        assert_eq!((ended.sandbox_id.as_str(), ended.state.as_str()), ("sb1", ""));
        assert!(ended.exited_at.is_some());
        node.finish().await;
    }
}

/// Waits until a sandbox is gone of which the end was told: while it is cleaned up after, its name is
/// taken, and whoever asks waits.
async fn gone(node: &Node, pod: &Pod) {
    assert_eq!(pod.platform().await.unwrap_err().code(), Code::NotFound);
    assert!(!folder(node, &pod.id).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_told_in_order_and_a_killed_shim_ends_it() {
    let shim = shims().pop().unwrap();
    let mut node = Node::start().await;
    let pod = own(&node, &shim, "sb2");
    pod.make().await;
    pod.start().await.unwrap();
    let again = pod.create().await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists, "{again}");
    assert!(again.message().contains("sandbox sb2 already running"), "{again}");
    // One that runs is not lost by that.
    assert_eq!(pod.start().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(pod.status().await.unwrap().state, "SANDBOX_READY");
    let killing = async {
        // The wait went before it on the same connection: it is taken when this is answered.
        assert_eq!(pod.status().await.unwrap().state, "SANDBOX_READY");
        signal(node.shim_pid("sb2"), libc::SIGKILL);
    };
    let (waited, ()) = tokio::join!(pod.wait(), killing);
    assert_eq!(waited.unwrap().exit_status, 137);
    let told = node.events_until("sb2", "sandbox exit 137").await;
    assert_eq!(told, ["sandbox create", "sandbox start", "sandbox exit 137"]);
    gone(&node, &pod).await;

    pod.create().await.unwrap();
    pod.start().await.unwrap();
    let shim_pid = node.shim_pid("sb2");
    node.kill().await;
    signal(shim_pid, libc::SIGKILL);
    node.restart();
    assert_eq!(node.events_until("sb2", "sandbox exit 137").await, ["sandbox exit 137"]);
    let pod = own(&node, &shim, "sb2");
    gone(&node, &pod).await;
    node.finish().await;
}

/// A shim of which the cleaning up waits for a line from the fifo that is answered with it.
fn held_up(node: &Node, shim: &str) -> (String, std::path::PathBuf) {
    let (program, fifo) = (node.folder.path().join("held-up"), node.folder.path().join("fifo"));
    let path = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the path outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let wait = format!("case \" $* \" in *\" delete \"*) read go < {} ;; esac", fifo.display());
    write_program(&program, format!("#!/bin/sh\n{wait}\nexec {shim} \"$@\"\n")).unwrap();
    (program.to_string_lossy().into_owned(), fifo)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_while_a_dead_shim_is_cleaned_up_after_hears_of_the_end() {
    let shim = shims().pop().unwrap();
    let node = Node::start().await;
    let (program, fifo) = held_up(&node, &shim);
    let pod = own(&node, &program, "sb7");
    pod.make().await;
    pod.start().await.unwrap();
    signal(node.shim_pid("sb7"), libc::SIGKILL);
    // Opened once the cleaning up has begun.
    let open = move || std::fs::OpenOptions::new().write(true).open(fifo);
    let mut held = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
    let going_on = async {
        // These went before it on the same connection: they are taken when this is answered.
        let again = pod.create().await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again}");
        std::io::Write::write_all(&mut held, b"go\n").unwrap();
    };
    let (waited, status, stopped, measured, shut_down, ()) =
        tokio::join!(pod.wait(), pod.status(), pod.stop(), pod.metrics(), pod.shutdown(), going_on);
    let waited = waited.unwrap();
    assert_eq!((waited.exit_status, status.unwrap().exited_at), (137, waited.exited_at));
    stopped.unwrap();
    assert_eq!(measured.unwrap_err().code(), Code::NotFound);
    // It is gone, by another's doing.
    assert_eq!(shut_down.unwrap_err().code(), Code::NotFound);
    assert!(!folder(&node, &pod.id).exists());
    let told = node.events("sb7").await;
    assert_eq!(told, ["sandbox create", "sandbox start", "sandbox exit 137"]);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_and_leaves_nothing() {
    let node = Node::start().await;
    let pod = own(&node, "io.containerd.nosuch.v1", "sb3");
    for (sandboxer, code, text) in [
        ("", Code::InvalidArgument, "sandbox controller name can not be empty"),
        ("podsandbox", Code::NotFound, "failed to get sandbox controller by podsandbox"),
    ] {
        let request =
            wire::ControllerStartRequest { sandbox_id: "sb3".into(), sandboxer: sandboxer.into() };
        let refused = pod.client().start(ns(request)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(text), "{refused}");
    }
    let missing = pod.start().await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains("unable to find sandbox \"sb3\""), "{missing}");
    assert_eq!(pod.platform().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(pod.metrics().await.unwrap_err().code(), Code::NotFound);
    assert!(pod.update().await.unwrap_err().message().contains("sandbox can not be nil"));
    let none = pod.create().await.unwrap_err();
    let expected = "failed to start new shim for sandbox sb3: failed to resolve runtime path: \
                    runtime \"io.containerd.nosuch.v1\" binary not installed \
                    \"containerd-shim-nosuch-v1\": file does not exist";
    assert!(none.message().starts_with(expected), "{none}");
    // It wants a spec before it says that it has no sandboxes.
    let debians = Pod { shim: DEBIANS.into(), ..pod.clone() };
    let refused = debians.create().await.unwrap_err();
    assert!(
        refused.message().starts_with("failed to start new shim for sandbox sb3: start failed"),
        "{refused}"
    );
    let with_spec = Sandbox { spec: support::container("", "", "").spec, ..debians.sandbox() };
    let refused = debians.create_as(with_spec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    assert!(refused.message().starts_with("failed to create sandbox sb3: "), "{refused}");
    let bad = Pod { id: "../sb".into(), ..debians };
    assert_eq!(bad.create().await.unwrap_err().code(), Code::InvalidArgument);
    until("its shims are gone", || node.shims_of("sb3").is_empty()).await;
    assert!(!folder(&node, &pod.id).exists());
    assert_eq!(node.events("sb3").await, Vec::<String>::new());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_may_bear_its_sandboxs_name_or_say_where_the_shim_is() {
    let shim = shims().pop().unwrap();
    let node = Node::start().await;
    let pod = own(&node, &shim, "sb4");
    pod.record().await;
    // A sandbox that nobody runs.
    pod.member(&node, "sb4c1").await;
    let alone = node.create("sb4c1").await.unwrap_err();
    assert_eq!(alone.code(), Code::NotFound, "{alone}");
    assert!(alone.message().contains("can't find shim for sandbox sb4"), "{alone}");
    // One that is a container: the others join its shim.
    node.run(&shim, "sb4", "while :; do sleep 1000; done").await;
    node.create("sb4c1").await.unwrap();
    let shared = address(&node.bundle("sb4"));
    assert_eq!(address(&node.bundle("sb4c1")), shared);
    Pod { shim: "nobodys.shim.v9".into(), ..pod.clone() }.member(&node, "sb4c2").await;
    let bad = node.create_with("sb4c2", |request| request.task_api_address = "unix:///a".into());
    assert_eq!(bad.await.unwrap_err().code(), Code::InvalidArgument);
    let told = node.create_with("sb4c2", |request| {
        (request.task_api_address, request.task_api_version) = (shared.clone(), 3);
    });
    told.await.unwrap();
    for id in ["sb4c1", "sb4c2"] {
        node.delete(id).await.unwrap();
    }
    // The sandbox's record is gone: the container has a shim of its own.
    pod.unrecord().await;
    node.create("sb4c1").await.unwrap();
    assert_ne!(address(&node.bundle("sb4c1")), shared);
    node.delete("sb4c1").await.unwrap();
    end_task(&node, "sb4").await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_making_that_was_cut_off_leaves_a_sandbox_or_nothing() {
    let shim = shims().pop().unwrap();
    let mut node = Node::start().await;
    for moment in 0..12 {
        let pod = own(&node, &shim, "sb5");
        let pause = tokio::time::sleep(std::time::Duration::from_millis(moment * 4));
        tokio::select! {
            made = pod.create() => drop(made),
            // The moment of the kill is what the test is about.
            () = pause => {}
        }
        node.kill_and_restart().await;
        let pod = own(&node, &shim, "sb5");
        match pod.shutdown().await {
            Ok(_) => {}
            Err(none) => assert_eq!(none.code(), Code::NotFound, "{none}"),
        }
        until("the shim is gone", || node.shims_of("sb5").is_empty()).await;
        until("the folder is gone", || !folder(&node, &pod.id).exists()).await;
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_starts_at_once_one_starts_it_and_none_takes_it_away() {
    let shim = shims().pop().unwrap();
    let node = Node::start().await;
    let pod = own(&node, &shim, "sb6");
    pod.record().await;
    for _ in 0..8 {
        pod.create().await.unwrap();
        let starts = futures::future::join_all((0..4).map(|_| pod.start())).await;
        let refused: Vec<_> = starts.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused.iter().all(|error| error.code() == Code::FailedPrecondition));
        assert_eq!(pod.status().await.unwrap().state, "SANDBOX_READY");
        pod.shutdown().await.unwrap();
    }
    let life = ["sandbox create", "sandbox start", "sandbox exit 0"];
    assert_eq!(node.events("sb6").await, life.repeat(8));
    node.finish().await;
}
