//! The sandbox API: a pod's record and what its containers have to do with it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_errors::{Code, Coded};
use berth_proto::containerd::runtime::sandbox::v1 as wire;
use berth_proto::io::containerd::cgroups::{v1, v2};
use common::*;
use prost::Message;

const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

/// A request that is nothing but the name of a sandbox: the field has the same number in all.
fn of<M: Message + Default>(id: &str) -> M {
    let named = wire::PingRequest { sandbox_id: id.into() };
    M::decode(&named.encode_to_vec()[..]).unwrap()
}

async fn call<M: Message + Default>(
    shim: &Shim,
    method: &str,
    request: &impl Message,
) -> Result<M, berth_ttrpc::Error> {
    shim.client.call("containerd.runtime.sandbox.v1.Sandbox", method, request, LONG).await
}

async fn refused(shim: &Shim, method: &str, id: &str) -> Code {
    call::<()>(shim, method, &of::<wire::PingRequest>(id)).await.unwrap_err().code()
}

async fn create(shim: &Shim, id: &str) {
    let _: () = call(shim, "CreateSandbox", &of::<wire::CreateSandboxRequest>(id)).await.unwrap();
}

async fn status(shim: &Shim, id: &str) -> wire::SandboxStatusResponse {
    call(shim, "SandboxStatus", &of::<wire::SandboxStatusRequest>(id)).await.unwrap()
}

/// Ends the sandbox with its shim.
async fn end_sandbox(shim: &Shim, id: &str) {
    let shutdown = of::<wire::ShutdownSandboxRequest>(id);
    let _: () = call(shim, "ShutdownSandbox", &shutdown).await.unwrap();
    shim.client.closed().await;
    shim.gone().await;
}

#[tokio::test]
async fn a_sandbox_is_made_started_stopped_and_ends_its_shim() {
    let node = Node::new();
    let shim = node.shim("s1", &spec(&["sleep", "1000"])).await;
    create(&shim, "s1").await;
    let made = status(&shim, "s1").await;
    assert_eq!((made.sandbox_id.as_str(), made.state.as_str()), ("s1", NOT_READY));
    let started: wire::StartSandboxResponse =
        call(&shim, "StartSandbox", &of::<wire::StartSandboxRequest>("s1")).await.unwrap();
    assert_eq!((started.pid, started.created_at), (made.pid, made.created_at));
    assert_eq!(status(&shim, "s1").await.state, READY);
    assert_eq!(refused(&shim, "StartSandbox", "s1").await, Code::FailedPrecondition);
    let platform: wire::PlatformResponse =
        call(&shim, "Platform", &of::<wire::PlatformRequest>("s1")).await.unwrap();
    assert_eq!(platform.platform.unwrap().os, "linux");
    let _: () = call(&shim, "PingSandbox", &of::<wire::PingRequest>("s1")).await.unwrap();

    shim.create(Io::default()).await;
    assert_eq!(made.pid, shim.pid().await);
    shim.start("").await.unwrap();
    assert_eq!(refused(&shim, "StopSandbox", "s1").await, Code::FailedPrecondition);
    assert_eq!(status(&shim, "s1").await.state, READY);
    shim.kill("", 9, false).await.unwrap();
    shim.wait("").await;

    let waited = of::<wire::WaitSandboxRequest>("s1");
    let wait = call::<wire::WaitSandboxResponse>(&shim, "WaitSandbox", &waited);
    let stop = of::<wire::StopSandboxRequest>("s1");
    let stop = call::<()>(&shim, "StopSandbox", &stop);
    let (waited, stopped) = tokio::join!(wait, stop);
    stopped.unwrap();
    let end = status(&shim, "s1").await;
    assert_eq!((end.state.as_str(), end.exited_at), (NOT_READY, waited.unwrap().exited_at));
    assert!(end.exited_at.is_some());
    assert_eq!(refused(&shim, "ShutdownSandbox", "s1").await, Code::FailedPrecondition);
    shim.delete("").await.unwrap();
    end_sandbox(&shim, "s1").await;
}

#[tokio::test]
async fn what_a_sandbox_uses_is_what_the_container_of_its_name_uses() {
    let node = Node::new();
    let shim = node.shim("s2", &spec(&["sleep", "1000"])).await;
    create(&shim, "s2").await;
    let asked = of::<wire::SandboxMetricsRequest>("s2");
    // Without one it has no processes, and nothing to measure.
    let answer: wire::SandboxMetricsResponse = call(&shim, "SandboxMetrics", &asked).await.unwrap();
    let none = answer.metrics.unwrap();
    assert!(none.id == "s2" && none.timestamp.is_some() && none.data.is_none(), "{none:?}");
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    let answer: wire::SandboxMetricsResponse = call(&shim, "SandboxMetrics", &asked).await.unwrap();
    let metrics = answer.metrics.unwrap();
    assert_eq!(metrics.id, "s2");
    assert!(metrics.timestamp.is_some());
    let data = metrics.data.unwrap();
    let pids = match berth_proto::unpack::<v1::Metrics>(&data) {
        Some(first) => first.unwrap().pids.unwrap().current,
        None => berth_proto::unpack::<v2::Metrics>(&data).unwrap().unwrap().pids.unwrap().current,
    };
    assert!(pids >= 1, "a container without a process");
    shim.kill("", 9, false).await.unwrap();
    shim.wait("").await;
    // Its cgroup is there until it is deleted.
    let ended: wire::SandboxMetricsResponse = call(&shim, "SandboxMetrics", &asked).await.unwrap();
    assert!(ended.metrics.unwrap().data.is_some());
    shim.delete("").await.unwrap();
    let gone: wire::SandboxMetricsResponse = call(&shim, "SandboxMetrics", &asked).await.unwrap();
    assert!(gone.metrics.unwrap().data.is_none());
    end_sandbox(&shim, "s2").await;
}

#[tokio::test]
async fn sandboxes_that_are_not_there_are_not_found() {
    let node = Node::new();
    let shim = node.shim("s3", &spec(&["sleep", "1000"])).await;
    let methods = [
        "StartSandbox",
        "Platform",
        "StopSandbox",
        "WaitSandbox",
        "SandboxStatus",
        "PingSandbox",
        "ShutdownSandbox",
        "SandboxMetrics",
    ];
    for method in methods {
        assert_eq!(refused(&shim, method, "s3").await, Code::NotFound, "{method}");
    }
    create(&shim, "s3").await;
    for method in methods {
        assert_eq!(refused(&shim, method, "other").await, Code::NotFound, "{method}");
    }
    assert_eq!(refused(&shim, "CreateSandbox", "s3").await, Code::AlreadyExists);
    assert_eq!(refused(&shim, "CreateSandbox", "other").await, Code::FailedPrecondition);
    assert_eq!(refused(&shim, "CreateSandbox", "../x").await, Code::InvalidArgument);
    assert_eq!(refused(&shim, "UpdateSandbox", "s3").await, Code::Unimplemented);
    // What is said after each task that is deleted does not end it.
    shim.shutdown().await;
    assert_eq!(status(&shim, "s3").await.state, NOT_READY);
    end_sandbox(&shim, "s3").await;
}
