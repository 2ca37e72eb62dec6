//! What containers a node holds and what their tasks do, as the cluster service asks for it. Needs root.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use berth_proto::berth::node::v1::container_holdings_client::ContainerHoldingsClient;
use berth_proto::berth::node::v1::{HeldContainer, HeldKey, HoldingsRequest};
use berth_proto::containerd::services::containers::v1::{
    CreateContainerRequest, DeleteContainerRequest,
};
use berth_proto::containerd::services::tasks::v1 as tasks;
use support::{Node, SOON, container, ns, shims, signal, until};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

const SLEEP: &str = "while :; do busybox sleep 0.05; done";

fn key(id: &str) -> HeldKey {
    HeldKey { namespace: "test".into(), name: id.into() }
}

async fn list(node: &Node, request: HoldingsRequest) -> Result<Vec<Vec<HeldContainer>>, Status> {
    let mut client = ContainerHoldingsClient::new(node.channel.clone());
    let mut stream = client.list(request).await?.into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await? {
        pieces.push(piece.containers);
    }
    Ok(pieces)
}

async fn held(node: &Node, id: &str) -> HeldContainer {
    let request = HoldingsRequest { keys: vec![key(id)], ..Default::default() };
    let found = list(node, request).await.unwrap().concat();
    let [held] = <[HeldContainer; 1]>::try_from(found).expect("one container");
    assert_eq!(held.key, Some(key(id)));
    held
}

async fn state(node: &Node, id: &str) -> String {
    held(node, id).await.state
}

/// Waits until a container is held in a state: its shim may take long to say it to a new run.
async fn comes_to_be(node: &Node, id: &str, wanted: &str) {
    let waiting = async { while state(node, id).await != wanted {} };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{id} is not {wanted}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_held_as_it_is_recorded_and_as_its_task_is() {
    for shim in shims() {
        let mut node = Node::start().await;
        let mut recorded = container(&shim, "c", SLEEP);
        recorded.image = "an/image:1".into();
        recorded.labels = [("a".to_owned(), "b".to_owned())].into();
        let request = CreateContainerRequest { container: Some(recorded) };
        node.containers().create(ns(request)).await.unwrap();
        let none = held(&node, "c").await;
        assert_eq!((none.state.as_str(), none.pid, none.image.as_str()), ("none", 0, "an/image:1"));
        assert_eq!((none.runtime.as_str(), none.labels["a"].as_str()), (shim.as_str(), "b"));
        assert!(none.created.is_some() && none.exited.is_none());

        let pid = node.create("c").await.unwrap();
        let created = held(&node, "c").await;
        assert_eq!((created.state.as_str(), created.pid), ("created", pid), "{shim}");
        node.start_task("c", "").await.unwrap();
        assert_eq!(state(&node, "c").await, "running", "{shim}");
        let pause = || ns(tasks::PauseTaskRequest { container_id: "c".into() });
        let resume = || ns(tasks::ResumeTaskRequest { container_id: "c".into() });
        node.tasks().pause(pause()).await.unwrap();
        comes_to_be(&node, "c", "paused").await;
        node.kill_and_restart().await;
        comes_to_be(&node, "c", "paused").await;
        node.tasks().resume(resume()).await.unwrap();
        comes_to_be(&node, "c", "running").await;
        node.kill_and_restart().await;
        comes_to_be(&node, "c", "running").await;

        node.kill_task("c", "", 9).await.unwrap();
        assert_eq!(node.wait("c", "").await.unwrap(), 137);
        // Whoever waits may hear of it from the shim first.
        comes_to_be(&node, "c", "stopped").await;
        let stopped = held(&node, "c").await;
        assert_eq!((stopped.pid, stopped.exit_status), (pid, 137), "{shim}");
        assert!(stopped.exited.is_some());
        node.delete("c").await.unwrap();
        let none = held(&node, "c").await;
        assert_eq!((none.state.as_str(), none.pid, none.exited), ("none", 0, None));
        let request = ns(DeleteContainerRequest { id: "c".into() });
        node.containers().delete(request).await.unwrap();
        assert_eq!(list(&node, HoldingsRequest::default()).await.unwrap().len(), 0);
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_shim_holds_up_no_list() {
    for shim in shims() {
        let mut node = Node::start().await;
        node.run(&shim, "stuck", SLEEP).await;
        node.run(&shim, "well", SLEEP).await;
        let shim_pid = node.shim_pid("stuck");
        support::stop(shim_pid).await;
        // What it does is known without its shim.
        assert_eq!(state(&node, "stuck").await, "running", "{shim}");
        node.kill_and_restart().await;
        // The first answer waits for the service; from the second on only the shim can hold it up.
        list(&node, HoldingsRequest::default()).await.unwrap();
        let began = Instant::now();
        assert_eq!(state(&node, "stuck").await, "unknown", "{shim}");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        comes_to_be(&node, "well", "running").await;
        signal(shim_pid, libc::SIGCONT);
        comes_to_be(&node, "stuck", "running").await;
        for id in ["stuck", "well"] {
            node.kill_task(id, "", 9).await.unwrap();
            assert_eq!(node.wait(id, "").await.unwrap(), 137);
            node.delete(id).await.unwrap();
        }
        until("shims end", || node.shims_of("stuck").is_empty()).await;
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_answered_in_pieces() {
    let node = Node::start().await;
    for n in 0..205 {
        node.container("io.containerd.runc.v2", &format!("c-{n:03}"), "").await;
    }
    let all = list(&node, HoldingsRequest::default()).await.unwrap();
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [200, 5]);
    assert!(all.concat().iter().all(|container| container.state == "none"));
    let of =
        |namespace: &str| HoldingsRequest { namespace: namespace.into(), ..Default::default() };
    assert_eq!(list(&node, of("test")).await.unwrap(), all);
    assert_eq!(list(&node, of("other")).await.unwrap().len(), 0);
    let keys = vec![key("c-007"), key("none")];
    let some = list(&node, HoldingsRequest { keys, ..Default::default() }).await.unwrap();
    assert_eq!(some, [[all[0][7].clone()]]);
    let keys = vec![key("c-007"); 1001];
    for request in [HoldingsRequest { keys, ..Default::default() }, of("not a name")] {
        let refused = list(&node, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    node.finish().await;
}
