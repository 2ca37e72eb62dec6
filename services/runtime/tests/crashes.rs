//! The service ends at each point of each commit, one after the other: what it acknowledged is
//! there afterwards, what it did not is there whole or not at all. A point that no test reaches
//! fails the test.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeSet;

use berth_proto::containerd::services::containers::v1 as wire;
use berth_proto::containerd::services::sandbox::v1 as sandbox;
use berth_proto::containerd::types::Sandbox;
use sandbox::store_client::StoreClient;
use support::{Node, container, ns};

const COMMITS: [&str; 6] = [
    "containers.create",
    "containers.update",
    "containers.delete",
    "sandboxes.create",
    "sandboxes.update",
    "sandboxes.delete",
];

/// Of what is attached to networks: gone through by `networks.rs`.
const OF_NETWORKS: [&str; 5] = [
    "attachments.begin",
    "attachments.forget",
    "attachments.keep",
    "attachments.leave",
    "attachments.trouble",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_point_of_every_commit() {
    let mut node = Node::start().await;
    let trace = node.folder.path().join("trace");
    for commit in COMMITS {
        for (step, kept) in [("before-commit", false), ("after-commit", true)] {
            node.container("r.v1", "old", "true").await;
            sandbox_create(&node, "old").await.unwrap();
            node.kill().await;
            let point = format!("{commit}.{step}");
            node.restart_with(&[
                ("BERTH_FAILPOINT", format!("{point}:abort")),
                ("BERTH_FAILPOINT_TRACE", trace.to_string_lossy().into_owned()),
            ]);
            let refused = apply(&node, commit).await;
            assert!(refused.is_err(), "{point}: it was acknowledged");
            node.died().await;
            node.restart();
            assert_eq!(happened(&node, commit).await, kept, "{point}");
            clear(&node).await;
        }
    }
    let passed = std::fs::read_to_string(&trace).unwrap();
    let passed: BTreeSet<_> = passed.lines().map(str::to_owned).collect();
    let points = COMMITS.iter().flat_map(|commit| {
        ["before-commit", "after-commit"].map(|step| format!("{commit}.{step}"))
    });
    assert_eq!(passed, points.collect(), "points that were passed");
    let known = COMMITS.iter().chain(&OF_NETWORKS).map(|commit| (*commit).to_owned());
    assert_eq!(commits_in_source(), known.collect());
    node.finish().await;
}

/// The names of all commits that the service's source makes.
fn commits_in_source() -> BTreeSet<String> {
    berth_testkit::commits_in(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap()
}

fn old_container() -> wire::Container {
    let mut changed = container("r.v1", "old", "true");
    changed.labels.insert("changed".into(), "yes".into());
    changed
}

fn sandbox_of(id: &str) -> Option<Sandbox> {
    Some(Sandbox { sandbox_id: id.into(), ..Default::default() })
}

async fn sandbox_create(node: &Node, id: &str) -> Result<(), tonic::Status> {
    let request = sandbox::StoreCreateRequest { sandbox: sandbox_of(id) };
    StoreClient::new(node.channel.clone()).create(ns(request)).await.map(|_| ())
}

async fn apply(node: &Node, commit: &str) -> Result<(), tonic::Status> {
    let mut store = StoreClient::new(node.channel.clone());
    match commit {
        "containers.create" => {
            let container = Some(container("r.v1", "new", "true"));
            let request = wire::CreateContainerRequest { container };
            node.containers().create(ns(request)).await.map(|_| ())
        }
        "containers.update" => {
            let container = Some(old_container());
            let request = wire::UpdateContainerRequest { container, update_mask: None };
            node.containers().update(ns(request)).await.map(|_| ())
        }
        "containers.delete" => {
            let request = wire::DeleteContainerRequest { id: "old".into() };
            node.containers().delete(ns(request)).await.map(|_| ())
        }
        "sandboxes.create" => sandbox_create(node, "new").await,
        "sandboxes.update" => {
            let mut changed = sandbox_of("old").unwrap();
            changed.labels.insert("changed".into(), "yes".into());
            let request = sandbox::StoreUpdateRequest { sandbox: Some(changed), fields: vec![] };
            store.update(ns(request)).await.map(|_| ())
        }
        _ => {
            let request = sandbox::StoreDeleteRequest { sandbox_id: "old".into() };
            store.delete(ns(request)).await.map(|_| ())
        }
    }
}

/// Whether the change is in the store.
async fn happened(node: &Node, commit: &str) -> bool {
    let request = ns(wire::ListContainersRequest::default());
    let containers = node.containers().list(request).await.unwrap().into_inner().containers;
    let mut store = StoreClient::new(node.channel.clone());
    let request = ns(sandbox::StoreListRequest::default());
    let sandboxes = store.list(request).await.unwrap().into_inner().list;
    match commit {
        "containers.create" => containers.iter().any(|c| c.id == "new"),
        "containers.update" => containers.iter().any(|c| c.labels.contains_key("changed")),
        "containers.delete" => containers.is_empty(),
        "sandboxes.create" => sandboxes.iter().any(|s| s.sandbox_id == "new"),
        "sandboxes.update" => sandboxes.iter().any(|s| s.labels.contains_key("changed")),
        _ => sandboxes.is_empty(),
    }
}

async fn clear(node: &Node) {
    for id in ["old", "new"] {
        // Either may be there or not.
        let _ = node.containers().delete(ns(wire::DeleteContainerRequest { id: id.into() })).await;
        let request = sandbox::StoreDeleteRequest { sandbox_id: id.into() };
        let _ = StoreClient::new(node.channel.clone()).delete(ns(request)).await;
    }
}
