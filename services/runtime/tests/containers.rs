//! Container records through the real service.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use berth_proto::berth::node::v1 as node_api;
use berth_proto::containerd::services::containers::v1 as wire;
use support::{Node, SOON, container, ns};
use tonic::Code;

fn create(container: wire::Container) -> tonic::Request<wire::CreateContainerRequest> {
    ns(wire::CreateContainerRequest { container: Some(container) })
}

fn get(id: &str) -> tonic::Request<wire::GetContainerRequest> {
    ns(wire::GetContainerRequest { id: id.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn records_follow_containerds_rules_and_survive_kills() {
    let mut node = Node::start().await;
    let mut first = container("io.containerd.runc.v2", "a", "true");
    first.labels.insert("x.y/z".into(), "1".into());
    node.containers().create(create(first.clone())).await.unwrap();
    let again = node.containers().create(create(first)).await.unwrap_err();
    assert_eq!(
        (again.code(), again.message()),
        (Code::AlreadyExists, "container \"a\": already exists")
    );
    for bad in ["", "a/b", ".."] {
        let refused = node.containers().create(create(container("r.v1", bad, "true"))).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
    let no_runtime = node.containers().create(create(container("", "b", "true"))).await;
    assert_eq!(
        no_runtime.unwrap_err().message(),
        "create container failed validation: container.Runtime.Name must be set: invalid argument"
    );
    node.kill_and_restart().await;
    let found = node.containers().get(get("a")).await.unwrap().into_inner().container.unwrap();
    assert_eq!(found.labels["x.y/z"], "1");
    let missing = node.containers().get(get("b")).await.unwrap_err();
    let text = "container \"b\" in namespace \"test\": not found";
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, text));
    assert_eq!(*node.neighbours.registered.lock().unwrap(), ["test"], "asked once and kept");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_touch_what_the_mask_names() {
    let node = Node::start().await;
    node.container("r.v1", "u", "true").await;
    let mut new = container("r.v1", "u", "true");
    new.image = "docker.io/library/x:1".into();
    new.labels.insert("a.b".into(), "2".into());
    let update = |paths: &[&str], container: &wire::Container| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        ns(wire::UpdateContainerRequest { container: Some(container.clone()), update_mask })
    };
    let masked = node.containers().update(update(&["labels.a.b"], &new)).await.unwrap();
    let masked = masked.into_inner().container.unwrap();
    assert_eq!((masked.labels["a.b"].as_str(), masked.image.as_str()), ("2", ""));
    let whole = node.containers().update(update(&[], &new)).await.unwrap().into_inner();
    assert_eq!(whole.container.unwrap().image, "docker.io/library/x:1");
    for path in ["runtime", "snapshot_key"] {
        let fixed = node.containers().update(update(&[path], &new)).await.unwrap_err();
        let text = format!("cannot update {path:?} field on \"u\": invalid argument");
        assert_eq!(fixed.message(), text);
    }
    new.snapshot_key = "moved".into();
    let moved = node.containers().update(update(&["snapshotkey"], &new)).await.unwrap_err();
    assert!(moved.message().contains("container.Snapshotter must be set"), "{moved}");
    new.snapshot_key.clear();
    let mut bare = new.clone();
    bare.spec = None;
    let bare = node.containers().update(update(&["spec"], &bare)).await.unwrap_err();
    let text = "update failed validation: container.Spec must be set: invalid argument";
    assert_eq!((bare.code(), bare.message()), (Code::InvalidArgument, text));
    new.snapshotter = "native".into();
    let fixed = node.containers().update(update(&[], &new)).await.unwrap_err();
    assert_eq!(fixed.message(), "container.Snapshotter field is immutable: invalid argument");
    node.finish().await;
}

/// Nobody here knows their types.
#[tokio::test(flavor = "multi_thread")]
async fn options_and_extensions_come_back_as_they_were_given() {
    let mut node = Node::start().await;
    let any = |type_url: &str, value: &[u8]| prost_types::Any {
        type_url: type_url.into(),
        value: value.to_vec(),
    };
    let mut given = container("io.containerd.other.v1", "any", "true");
    given.runtime.as_mut().unwrap().options = Some(any("other.v1.Options", &[0xff, 0, 1]));
    given.extensions = [
        ("x.one".to_owned(), any("types.example.com/One", b"{}")),
        ("x.two".to_owned(), any("type.googleapis.com/two.Two", &[0; 4096])),
        ("x.none".to_owned(), any("", &[])),
    ]
    .into();
    node.containers().create(create(given.clone())).await.unwrap();
    for killed in [false, true] {
        if killed {
            node.kill_and_restart().await;
        }
        let got = node.containers().get(get("any")).await.unwrap().into_inner().container.unwrap();
        assert_eq!((&got.runtime, &got.extensions), (&given.runtime, &given.extensions));
        assert_eq!(got.spec, given.spec);
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_filter_and_stream() {
    let node = Node::start().await;
    for n in 0..40 {
        let mut one = container("r.v1", &format!("c{n:02}"), "true");
        one.labels.insert("app".into(), if n % 2 == 0 { "even" } else { "odd" }.into());
        node.containers().create(create(one)).await.unwrap();
    }
    let list = |filters: &[&str]| {
        ns(wire::ListContainersRequest { filters: filters.iter().map(|f| (*f).into()).collect() })
    };
    let all = node.containers().list(list(&[])).await.unwrap().into_inner().containers;
    assert_eq!(all.len(), 40);
    assert!(all.is_sorted_by(|a, b| a.id < b.id));
    let filter = ["labels.app==even,id~=c0.", "id==c39"];
    let some = node.containers().list(list(&filter)).await.unwrap().into_inner().containers;
    assert_eq!(some.len(), 6);
    let mut stream = node.containers().list_stream(list(&[])).await.unwrap().into_inner();
    let mut streamed = 0;
    while let Some(message) = stream.message().await.unwrap() {
        assert!(message.container.is_some());
        streamed += 1;
    }
    assert_eq!(streamed, 40);
    let bad = node.containers().list(list(&["=="])).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fences_and_epochs_are_heeded() {
    let node = Node::start().await;
    let mut members =
        node_api::namespace_member_client::NamespaceMemberClient::new(node.channel.clone());
    let mut collector = node_api::collector_client::CollectorClient::new(node.channel.clone());
    let mut kept = container("r.v1", "kept", "true");
    (kept.snapshotter, kept.snapshot_key) = ("native".into(), "rootfs".into());
    collector.begin(node_api::BeginRequest { epoch: 6 }).await.unwrap();
    collector.end(node_api::EndRequest { epoch: 6 }).await.unwrap();
    node.containers().create(create(kept)).await.unwrap();
    assert!(node.neighbours.pinned.lock().unwrap().is_empty(), "nobody collects");
    collector.begin(node_api::BeginRequest { epoch: 7 }).await.unwrap();
    let mut during = container("r.v1", "during", "true");
    (during.snapshotter, during.snapshot_key) = ("native".into(), "other".into());
    during.labels.insert("containerd.io/gc.ref.content.0".into(), "sha256:aa".into());
    node.containers().create(create(during)).await.unwrap();
    let pinned = node.neighbours.pinned.lock().unwrap().clone();
    let expected = [("snapshots/native", "other"), ("content", "sha256:aa")];
    assert_eq!(pinned, expected.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    let mut nodes =
        collector.nodes(node_api::NodesRequest { epoch: 7 }).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(node) = nodes.message().await.unwrap() {
        assert!(node.root);
        found.push((node.key, node.refs.len()));
    }
    assert_eq!(found, [("during".to_owned(), 2), ("kept".to_owned(), 1)]);
    collector.end(node_api::EndRequest { epoch: 7 }).await.unwrap();

    let usage = node_api::NamespaceUsageRequest { namespace: "test".into() };
    assert_eq!(members.usage(usage).await.unwrap().into_inner().counts["containers"], 2);
    let fence = |up| node_api::FenceRequest { namespace: "test".into(), up };
    members.fence(fence(true)).await.unwrap();
    let fenced = node.containers().create(create(container("r.v1", "late", "true"))).await;
    assert_eq!(fenced.unwrap_err().code(), Code::Unavailable);
    members.fence(fence(false)).await.unwrap();
    node.containers().create(create(container("r.v1", "late", "true"))).await.unwrap();
    assert_eq!(node.neighbours.registered.lock().unwrap().len(), 3, "a fence forgets");
    node.finish().await;
}

/// The deletion of a container is told to who collects: its snapshot may have nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_reported() {
    let node = Node::start().await;
    node.container("r.v1", "gone", "true").await;
    assert!(node.neighbours.reported.lock().unwrap().is_empty(), "one change is not worth it");
    let delete = wire::DeleteContainerRequest { id: "gone".into() };
    node.containers().delete(ns(delete)).await.unwrap();
    support::until("it is told", || !node.neighbours.reported.lock().unwrap().is_empty()).await;
    let told = node.neighbours.reported.lock().unwrap().clone();
    assert_eq!(told, [node_api::ReportRequest { changes: 2, deletions: 1 }]);
    node.finish().await;
}

/// What a collection knows of one run of the service says nothing of the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_told_from_the_run_before() {
    let mut node = Node::start().await;
    let mut collector = node_api::collector_client::CollectorClient::new(node.channel.clone());
    let referring = |id: &str| {
        let mut one = container("r.v1", id, "true");
        one.labels.insert("containerd.io/gc.ref.content".into(), format!("sha256:{id}"));
        create(one)
    };
    let announced = |node: &Node| node.neighbours.pinned.lock().unwrap().len();
    node.containers().create(referring("first")).await.unwrap();
    assert_eq!(announced(&node), 1, "an earlier collection may not have ended");

    let begun = collector.begin(node_api::BeginRequest { epoch: 7 }).await.unwrap().into_inner();
    let other = collector.nodes(node_api::NodesRequest { epoch: 8 }).await.unwrap_err();
    let text = "epoch 8 is not open in this run of runtime, begin another: aborted";
    assert_eq!((other.code(), other.message()), (Code::Aborted, text));
    let asked =
        |epoch, incarnation| node_api::SweepRequest { epoch, incarnation, ..Default::default() };
    collector.sweep(asked(7, begun.incarnation)).await.unwrap();
    let other = collector.sweep(asked(7, begun.incarnation - 1)).await.unwrap_err();
    assert_eq!(other.code(), Code::Aborted, "{other}");

    node.kill_and_restart().await;
    let mut collector = node_api::collector_client::CollectorClient::new(node.channel.clone());
    for refused in [
        collector.nodes(node_api::NodesRequest { epoch: 7 }).await.map(drop).unwrap_err(),
        collector.sweep(asked(7, begun.incarnation)).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::Aborted, "{refused}");
    }
    node.containers().create(referring("second")).await.unwrap();
    assert_eq!(announced(&node), 2, "the collection may go on elsewhere");
    // The end of an epoch that this run has not seen begin tells it nothing.
    collector.end(node_api::EndRequest { epoch: 7 }).await.unwrap();
    node.containers().create(referring("third")).await.unwrap();
    assert_eq!(announced(&node), 3);

    collector.begin(node_api::BeginRequest { epoch: 9 }).await.unwrap();
    collector.end(node_api::EndRequest { epoch: 9 }).await.unwrap();
    node.containers().create(referring("fourth")).await.unwrap();
    assert_eq!(announced(&node), 3, "nobody collects");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_under_a_lease_that_is_not_there() {
    let node = Node::start().await;
    let under = |lease: &str| {
        let request = create(container("r.v1", "leased", "true"));
        berth_grpc::with_lease(request, lease).unwrap()
    };
    let gone = node.containers().create(under("gone-1")).await.unwrap_err();
    assert_eq!(
        (gone.code(), gone.message()),
        (Code::NotFound, "resolve lease: lease \"gone-1\": not found")
    );
    assert_eq!(node.containers().get(get("leased")).await.unwrap_err().code(), Code::NotFound);
    node.containers().create(under("there")).await.unwrap();
    let container = Some(container("r.v1", "leased", "true"));
    let update = ns(wire::UpdateContainerRequest { container, update_mask: None });
    let update = berth_grpc::with_lease(update, "gone-2").unwrap();
    assert_eq!(node.containers().update(update).await.unwrap_err().code(), Code::NotFound);

    let mut member = node_api::lease_member_client::LeaseMemberClient::new(node.channel.clone());
    let hold = node_api::AddLeaseResourceRequest {
        namespace: "test".into(),
        lease: "there".into(),
        kind: "containers".into(),
        id: "leased".into(),
        incarnation: 1,
    };
    let refused = member.add(hold).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    node.finish().await;
}

/// Ids of containers whose events of one kind were told.
fn ids<M: prost::Message + prost::Name + Default>(
    told: &[prost_types::Any],
    id: impl Fn(M) -> String,
) -> BTreeSet<String> {
    told.iter().filter_map(|any| Some(id(berth_proto::unpack::<M>(any)?.unwrap()))).collect()
}

/// When calls are cut off: at moments that find about as many of them done as not, however long
/// they take here.
#[derive(Debug)]
struct Moments {
    next: Duration,
    done: usize,
    cut: usize,
}

impl Moments {
    fn new() -> Self {
        Self { next: Duration::from_millis(1), done: 0, cut: 0 }
    }

    /// The moment of the break is what the test is about.
    async fn cut<T>(&mut self, call: impl Future<Output = Result<T, tonic::Status>>) {
        match tokio::time::timeout(self.next, call).await {
            Ok(Ok(_)) => {
                self.done += 1;
                self.next = self.next * 3 / 4;
            }
            // What is to be deleted was not made.
            Ok(Err(status)) => assert_eq!(status.code(), Code::NotFound),
            Err(_) => {
                self.cut += 1;
                self.next = self.next * 5 / 4 + Duration::from_micros(10);
            }
        }
    }

    fn are_enough(&self) -> bool {
        self.done > 20 && self.cut > 50
    }
}

/// A call is cut off at any moment; what it did all the same is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_takes_no_event_with_it() {
    use berth_proto::containerd::events::{ContainerCreate, ContainerDelete};
    let node = Node::start().await;
    let (mut creations, mut deletions) = (Moments::new(), Moments::new());
    let end = tokio::time::Instant::now() + SOON;
    let mut number = 0;
    while !(creations.are_enough() && deletions.are_enough()) {
        assert!(tokio::time::Instant::now() < end, "{creations:?} {deletions:?}");
        let id = format!("left-{number}");
        number += 1;
        let container = Some(container("io.containerd.runc.v2", &id, "true"));
        let mut client = node.containers();
        creations.cut(client.create(ns(wire::CreateContainerRequest { container }))).await;
        deletions.cut(client.delete(ns(wire::DeleteContainerRequest { id }))).await;
    }
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let told = node.told().await;
        let created = ids(&told, |event: ContainerCreate| event.id);
        let deleted = ids(&told, |event: ContainerDelete| event.id);
        let there = node.containers().list(ns(wire::ListContainersRequest::default())).await;
        let there =
            there.unwrap().into_inner().containers.into_iter().map(|container| container.id);
        let there: BTreeSet<_> = there.collect();
        // Told as it is once what was cut off has come to its end.
        let expected: BTreeSet<_> = created.difference(&deleted).cloned().collect();
        if there == expected && deleted.is_subset(&created) {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "there: {there:?}, told: {expected:?}");
    }
    node.finish().await;
}
