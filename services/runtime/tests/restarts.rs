//! Containers whose labels say that they are to run, kept so by the real service and real shims.
//! Needs root.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::tasks::v1 as wire;
use support::{Node, SOON, ns, shims};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_to_run_is_started_again() {
    let shim = shims().remove(0);
    let node = Node::start().await;
    let mut kept = support::container(&shim, "kept", "exit 4");
    let image = node.folder.path().join("image");
    let mut spec: serde_json::Value =
        serde_json::from_slice(&kept.spec.as_ref().unwrap().value).unwrap();
    spec["root"]["path"] = image.to_string_lossy().into_owned().into();
    kept.spec.as_mut().unwrap().value = spec.to_string().into_bytes();
    kept.labels.insert("containerd.io/restart.status".into(), "running".into());
    kept.labels.insert("containerd.io/restart.policy".into(), "on-failure:2".into());
    let request = containers::CreateContainerRequest { container: Some(kept) };
    node.containers().create(ns(request)).await.unwrap();
    // The first start is a client's.
    let request = wire::CreateTaskRequest { container_id: "kept".into(), ..Default::default() };
    node.tasks().create(ns(request)).await.unwrap();
    node.start_task("kept", "").await.unwrap();
    let one = ["create", "start", "exit kept 4"];
    let until = tokio::time::Instant::now() + SOON;
    let expected = [&one[..], &["delete 4"], &one[..], &["delete 4"], &one[..]].concat();
    loop {
        let told = node.events("kept").await;
        assert!(tokio::time::Instant::now() < until, "{told:?}");
        if told.len() >= expected.len() {
            assert_eq!(told, expected);
            break;
        }
    }
    a_pass(&node).await;
    assert_eq!(node.events("kept").await, expected, "twice is the most");
    node.delete("kept").await.unwrap();
    node.finish().await;
}

/// Waits until the monitor has looked at every container once more. It counts how often it tries to
/// start one that nobody can start.
async fn a_pass(node: &Node) {
    let marker = containers::GetContainerRequest { id: "marker".into() };
    if node.containers().get(ns(marker.clone())).await.is_err() {
        node.container("no.such.v1", "marker", "").await;
        label(node, "marker", &[("status", "running")]).await;
    }
    let count = async || {
        let found = node.containers().get(ns(marker.clone())).await.unwrap().into_inner();
        let labels = found.container.unwrap().labels;
        labels.get("containerd.io/restart.count").map_or(0, |count| count.parse::<u64>().unwrap())
    };
    // That of the marker may have been in the midst of a pass: the next one is whole.
    let (before, end) = (count().await, tokio::time::Instant::now() + SOON);
    while count().await < before + 2 {
        assert!(tokio::time::Instant::now() < end, "the monitor does not look");
    }
}

/// Changes labels of a container.
async fn label(node: &Node, id: &str, labels: &[(&str, &str)]) {
    let whole = |key: &str| format!("containerd.io/restart.{key}");
    let mut container = support::container("", id, "");
    container.labels =
        labels.iter().map(|(key, value)| (whole(key), (*value).to_owned())).collect();
    let paths = labels.iter().map(|(key, _)| format!("labels.{}", whole(key))).collect();
    let request = containers::UpdateContainerRequest {
        container: Some(container),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    node.containers().update(ns(request)).await.unwrap();
}

/// Waits until a container's task has a status.
async fn until_status(node: &Node, id: &str, status: i32) {
    let end = tokio::time::Instant::now() + SOON;
    while !node.list().await.contains(&(id.to_owned(), status)) {
        assert!(tokio::time::Instant::now() < end, "{id}: {:?}", node.list().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_follows_its_restart_labels_over_a_kill() {
    let (running, stopped) = (2, 3);
    let shim = shims().pop().unwrap();
    let mut node = Node::start().await;
    let mut kept = support::container(&shim, "watched", "echo up; while :; do sleep 1000; done");
    let image = node.folder.path().join("image");
    let mut spec: serde_json::Value =
        serde_json::from_slice(&kept.spec.as_ref().unwrap().value).unwrap();
    spec["root"]["path"] = image.to_string_lossy().into_owned().into();
    kept.spec.as_mut().unwrap().value = spec.to_string().into_bytes();
    let request = containers::CreateContainerRequest { container: Some(kept) };
    node.containers().create(ns(request)).await.unwrap();
    let log = node.folder.path().join("watched.log");
    let uri = format!("file://{}", log.display());
    let policy = ("policy", "unless-stopped");
    label(&node, "watched", &[("status", "running"), policy, ("loguri", &uri)]).await;
    until_status(&node, "watched", running).await;
    // A first process that is killed at once has told nothing.
    let ups = async |count: usize| {
        let told = || std::fs::read_to_string(&log).is_ok_and(|told| told == "up\n".repeat(count));
        support::until("it is up", told).await;
    };
    ups(1).await;
    let (ended, killed) = tokio::join!(node.wait("watched", ""), node.kill_task("watched", "", 9));
    assert!(ended.is_ok() && killed.is_ok());
    until_status(&node, "watched", running).await;
    ups(2).await;
    node.kill_and_restart().await;
    until_status(&node, "watched", running).await;
    label(&node, "watched", &[("explicitly-stopped", "true")]).await;
    node.kill_task("watched", "", 9).await.unwrap();
    until_status(&node, "watched", stopped).await;
    a_pass(&node).await;
    assert_eq!(node.list().await, [("watched".to_owned(), stopped)]);
    label(&node, "watched", &[("explicitly-stopped", "false")]).await;
    until_status(&node, "watched", running).await;
    ups(3).await;
    let request = containers::GetContainerRequest { id: "watched".into() };
    let record = node.containers().get(ns(request)).await.unwrap().into_inner();
    assert_eq!(record.container.unwrap().labels["containerd.io/restart.count"], "3");
    label(&node, "watched", &[("status", "stopped")]).await;
    let end = tokio::time::Instant::now() + SOON;
    while !node.list().await.is_empty() {
        assert!(tokio::time::Instant::now() < end, "it is not stopped");
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "up\nup\nup\n");
    node.finish().await;
}
