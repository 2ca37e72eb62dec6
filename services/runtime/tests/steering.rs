//! Tasks that are paused, limited, talked to and resized. Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test; mkfifo is a program")]

mod support;

use std::io::Write;
use std::path::Path;

use berth_proto::containerd::services::containers::v1::CreateContainerRequest;
use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::v1::types::Status;
use prost_types::Any;
use serde_json::json;
use support::{Node, cgroup, container, ns, shims, until};
use tonic::Code;

const SLEEP: &str = "trap 'exit 5' TERM; while :; do busybox sleep 0.05; done";

/// A cgroup's memory limit.
fn limit(id: &str) -> String {
    let unified = format!("/sys/fs/cgroup{}/memory.max", cgroup(id));
    let file = if Path::new(&unified).exists() {
        unified
    } else {
        format!("/sys/fs/cgroup/memory{}/memory.limit_in_bytes", cgroup(id))
    };
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

/// A named pipe with our end of it, open for both ways so that neither side waits for the other.
fn fifo(node: &Node, name: &str) -> (String, std::fs::File) {
    let path = node.folder.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let open = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    (path.to_string_lossy().into_owned(), open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_paused_and_its_limits_change() {
    for shim in shims() {
        let node = Node::start().await;
        node.run(&shim, "controlled", SLEEP).await;
        let id = || "controlled".to_owned();
        node.tasks().pause(ns(wire::PauseTaskRequest { container_id: id() })).await.unwrap();
        assert_eq!(node.list().await, [(id(), Status::Paused as i32)], "{shim}");
        node.tasks().resume(ns(wire::ResumeTaskRequest { container_id: id() })).await.unwrap();
        assert_eq!(node.list().await, [(id(), Status::Running as i32)], "{shim}");

        let resources = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
            value: json!({ "memory": { "limit": 33_554_432 } }).to_string().into_bytes(),
        };
        let update = wire::UpdateTaskRequest {
            container_id: id(),
            resources: Some(resources),
            ..Default::default()
        };
        node.tasks().update(ns(update)).await.unwrap();
        assert_eq!(limit("controlled"), "33554432", "{shim}");
        node.kill_task("controlled", "", 9).await.unwrap();
        assert_eq!(node.wait("controlled", "").await.unwrap(), 137);
        node.delete("controlled").await.unwrap();
        let gone = ns(wire::PauseTaskRequest { container_id: id() });
        assert_eq!(node.tasks().pause(gone).await.unwrap_err().code(), Code::NotFound);
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn input_ends_when_it_is_closed() {
    for shim in shims() {
        let node = Node::start().await;
        node.container(&shim, "reads", "busybox cat > /tmp/said; exit 4").await;
        let (stdin, mut input) = fifo(&node, "stdin");
        let (stdout, _output) = fifo(&node, "stdout");
        let (stderr, _errors) = fifo(&node, "stderr");
        let piped = |request: &mut wire::CreateTaskRequest| {
            (request.stdin, request.stdout, request.stderr) = (stdin, stdout, stderr);
        };
        node.create_with("reads", piped).await.unwrap();
        node.start_task("reads", "").await.unwrap();
        input.write_all(b"all of it").unwrap();
        let said = node.folder.path().join("image/tmp/said");
        until("read", || std::fs::read_to_string(&said).is_ok_and(|s| s == "all of it")).await;
        drop(input);
        let (container_id, exec_id) = ("reads".into(), String::new());
        let close = ns(wire::CloseIoRequest { container_id, exec_id, stdin: true });
        node.tasks().close_io(close).await.unwrap();
        assert_eq!(node.wait("reads", "").await.unwrap(), 4, "{shim}");
        node.delete("reads").await.unwrap();
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_resized() {
    for shim in shims() {
        let node = Node::start().await;
        let script = "trap 'busybox stty size > /tmp/size' WINCH; : >/tmp/listens; \
                      while :; do busybox sleep 0.05; done";
        let mut container = container(&shim, "resized", script);
        let spec = container.spec.as_mut().unwrap();
        let mut value: serde_json::Value = serde_json::from_slice(&spec.value).unwrap();
        value["process"]["terminal"] = json!(true);
        let mounts = value["mounts"].as_array_mut().unwrap();
        mounts.push(json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }));
        let options = ["newinstance", "ptmxmode=0666", "mode=0620"];
        let pts = json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": options });
        mounts.push(pts);
        spec.value = value.to_string().into_bytes();
        let request = CreateContainerRequest { container: Some(container) };
        node.containers().create(ns(request)).await.unwrap();
        let (path, _output) = fifo(&node, "stdout");
        let terminal = |request: &mut wire::CreateTaskRequest| {
            (request.terminal, request.stdout) = (true, path);
        };
        node.create_with("resized", terminal).await.unwrap();
        node.start_task("resized", "").await.unwrap();
        let tmp = node.folder.path().join("image/tmp");
        support::until("it listens", || tmp.join("listens").exists()).await;
        let resize = wire::ResizePtyRequest {
            container_id: "resized".into(),
            exec_id: String::new(),
            width: 81,
            height: 25,
        };
        node.tasks().resize_pty(ns(resize)).await.unwrap();
        let seen = || std::fs::read_to_string(tmp.join("size")).is_ok_and(|size| size == "25 81\n");
        support::until("its size is seen", seen).await;
        node.kill_task("resized", "", 9).await.unwrap();
        assert_eq!(node.wait("resized", "").await.unwrap(), 137);
        node.delete("resized").await.unwrap();
        node.finish().await;
    }
}
