//! Images, namespaces, leases, collection and events as clients see them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use std::collections::HashMap;

use berth_proto::berth::node::v1::{
    CollectRequest, NodeSubscribeRequest, OpenBlobRequest, ReportRequest,
};
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::namespaces::v1 as namespaces;
use berth_proto::containerd::types::Descriptor;
use prost_types::FieldMask;
use std::time::Duration;
use support::{Clients, NAMESPACE, Served, on, pairs};
use tonic::{Code, Status};

fn image(name: &str, digest: &str) -> images::Image {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest: digest.to_owned(),
        size: 4,
        ..Default::default()
    };
    images::Image { name: name.into(), target: Some(target), ..Default::default() }
}

async fn create(clients: &mut Clients, image: images::Image) -> Result<images::Image, Status> {
    let request = images::CreateImageRequest { image: Some(image), ..Default::default() };
    Ok(clients.images.create(on(NAMESPACE, request)).await?.into_inner().image.unwrap())
}

async fn exists(clients: &mut Clients, digest: &str) -> bool {
    let request =
        berth_proto::containerd::services::content::v1::InfoRequest { digest: digest.into() };
    clients.content.info(on(NAMESPACE, request)).await.is_ok()
}

/// Waits until a blob is collected.
async fn gone(clients: &mut Clients, digest: &str) {
    let waiting = async {
        while exists(clients, digest).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("nobody collects");
}

async fn delete_image(clients: &mut Clients, name: &str, sync: bool) -> Result<(), Status> {
    let request = images::DeleteImageRequest { name: name.into(), sync, target: None };
    clients.images.delete(on(NAMESPACE, request)).await.map(drop)
}

#[tokio::test]
async fn images_are_made_listed_changed_and_deleted() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let digest = clients.put("", b"blob", &[]).await.unwrap();
    let made = create(&mut clients, image("a", &digest)).await.unwrap();
    assert!(made.created_at.is_some() && made.created_at == made.updated_at);
    let twice = create(&mut clients, image("a", &digest)).await.unwrap_err();
    assert_eq!(
        (twice.code(), twice.message()),
        (Code::AlreadyExists, "image \"a\": already exists")
    );
    let mut bad = image("b", "sha256:nothing");
    assert_eq!(create(&mut clients, bad.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    bad = image("", &digest);
    assert_eq!(create(&mut clients, bad).await.unwrap_err().code(), Code::InvalidArgument);
    let update = images::UpdateImageRequest {
        image: Some(images::Image {
            labels: pairs(&[("k", "v"), ("x", "y")]),
            ..image("a", &digest)
        }),
        update_mask: Some(FieldMask { paths: vec!["labels.k".into()] }),
        ..Default::default()
    };
    let changed = clients.images.update(on(NAMESPACE, update)).await.unwrap().into_inner();
    assert_eq!(changed.image.unwrap().labels, pairs(&[("k", "v")]));
    for (filter, count) in
        [("name==a", 1), ("name~=^b", 0), ("labels.k==v", 1), ("target.mediatype~=oci", 1)]
    {
        let request = images::ListImagesRequest { filters: vec![filter.into()] };
        let found = clients.images.list(on(NAMESPACE, request)).await.unwrap().into_inner();
        assert_eq!(found.images.len(), count, "{filter}");
    }
    delete_image(&mut clients, "a", false).await.unwrap();
    let gone = delete_image(&mut clients, "a", false).await.unwrap_err();
    assert_eq!((gone.code(), gone.message()), (Code::NotFound, "image \"a\": not found"));
    served.stop().await;
}

#[tokio::test]
async fn a_synchronous_deletion_takes_what_the_image_alone_kept() {
    let served = Served::start().await;
    let mut clients = served.clients();
    leases_create(&mut clients, "l").await;
    let layer = clients.put("l", b"layer", &[]).await.unwrap();
    let manifest = clients
        .put("l", b"manifest", &[("containerd.io/gc.ref.content.0", layer.as_str())])
        .await
        .unwrap();
    let root = clients.put("l", b"kept", &[("containerd.io/gc.root", "yes")]).await.unwrap();
    create(&mut clients, image("a", &manifest)).await.unwrap();
    let delete = leases::DeleteRequest { id: "l".into(), sync: true };
    clients.leases.delete(on(NAMESPACE, delete)).await.unwrap();
    assert!(exists(&mut clients, &layer).await && exists(&mut clients, &manifest).await);
    delete_image(&mut clients, "a", true).await.unwrap();
    assert!(!exists(&mut clients, &layer).await && !exists(&mut clients, &manifest).await);
    assert!(exists(&mut clients, &root).await);
    let blobs =
        served.config.service_root(berth_config::Service::Distribution).join("blobs/sha256");
    assert_eq!(fs_err::read_dir(blobs).unwrap().count(), 1);
    served.stop().await;
}

async fn leases_create(clients: &mut Clients, id: &str) {
    let request = leases::CreateRequest { id: id.into(), ..Default::default() };
    clients.leases.create(on(NAMESPACE, request)).await.unwrap();
}

#[tokio::test]
async fn leases_hold_what_is_written_under_them() {
    let served = Served::start().await;
    let mut clients = served.clients();
    leases_create(&mut clients, "l").await;
    let again = leases::CreateRequest { id: "l".into(), ..Default::default() };
    let twice = clients.leases.create(on(NAMESPACE, again)).await.unwrap_err();
    assert_eq!(
        (twice.code(), twice.message()),
        (Code::AlreadyExists, "lease \"l\": already exists")
    );
    let held = clients.put("l", b"held", &[]).await.unwrap();
    let loose = clients.put("", b"loose", &[]).await.unwrap();
    let collected = clients.collection.collect(CollectRequest {}).await.unwrap().into_inner();
    assert_eq!(collected.dropped, [("content".to_owned(), 1)].into());
    assert_eq!(collected.bytes_freed, 5);
    assert!(exists(&mut clients, &held).await && !exists(&mut clients, &loose).await);
    let resources = |id: &str| leases::ListResourcesRequest { id: id.into() };
    let found = clients.leases.list_resources(on(NAMESPACE, resources("l"))).await.unwrap();
    let found = found.into_inner().resources;
    assert_eq!(found, [leases::Resource { id: held.clone(), r#type: "content".into() }]);
    let absent = leases::Resource { id: "name".into(), r#type: "images".into() };
    let add = leases::AddResourceRequest { id: "l".into(), resource: Some(absent.clone()) };
    clients.leases.add_resource(on(NAMESPACE, add)).await.unwrap();
    let drop_it = leases::DeleteResourceRequest { id: "l".into(), resource: Some(absent) };
    clients.leases.delete_resource(on(NAMESPACE, drop_it)).await.unwrap();
    let odd = leases::Resource { id: "x".into(), r#type: "tasks".into() };
    let add = leases::AddResourceRequest { id: "l".into(), resource: Some(odd) };
    let refused = clients.leases.add_resource(on(NAMESPACE, add)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let delete = leases::DeleteRequest { id: "l".into(), sync: true };
    clients.leases.delete(on(NAMESPACE, delete)).await.unwrap();
    assert!(!exists(&mut clients, &held).await);
    let none = clients.leases.list_resources(on(NAMESPACE, resources("l"))).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    served.stop().await;
}

#[tokio::test]
async fn namespaces_come_by_use_and_go_when_empty() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let digest = clients.put("", b"blob", &[("containerd.io/gc.root", "1")]).await.unwrap();
    let list = clients.namespaces.list(namespaces::ListNamespacesRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().namespaces[0].name, NAMESPACE);
    let delete = |name: &str| namespaces::DeleteNamespaceRequest { name: name.into() };
    let full = clients.namespaces.delete(delete(NAMESPACE)).await.unwrap_err();
    assert_eq!(full.code(), Code::FailedPrecondition);
    let told = "namespace \"test\" must be empty, but it still has blobs: failed precondition";
    assert_eq!(full.message(), told);
    let request = berth_proto::containerd::services::content::v1::DeleteContentRequest { digest };
    clients.content.delete(on(NAMESPACE, request)).await.unwrap();
    clients.namespaces.delete(delete(NAMESPACE)).await.unwrap();
    let gone = clients.namespaces.delete(delete(NAMESPACE)).await.unwrap_err();
    assert_eq!((gone.code(), gone.message()), (Code::NotFound, "namespace \"test\": not found"));
    let busy = namespaces::Namespace { name: "busy".into(), labels: pairs(&[("a", "b")]) };
    let create = namespaces::CreateNamespaceRequest { namespace: Some(busy.clone()) };
    clients.namespaces.create(create.clone()).await.unwrap();
    assert_eq!(clients.namespaces.create(create).await.unwrap_err().code(), Code::AlreadyExists);
    let kept = clients.namespaces.delete(delete("busy")).await.unwrap_err();
    assert!(kept.message().contains("snapshots on \"overlayfs\" snapshotter"), "{kept}");
    let update = |name: &str, new: &[(&str, &str)], paths: &[&str]| {
        let namespace = namespaces::Namespace { name: name.into(), labels: pairs(new) };
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let update_mask = Some(FieldMask { paths });
        namespaces::UpdateNamespaceRequest { namespace: Some(namespace), update_mask }
    };
    let named = update("busy", &[("c", "d"), ("e", "f")], &["labels.c"]);
    let updated = clients.namespaces.update(named).await.unwrap().into_inner();
    assert_eq!(updated.namespace, None, "as containerd answers");
    assert_eq!(labels_of(&mut clients, "busy").await, pairs(&[("a", "b"), ("c", "d")]));
    let all = update("busy", &[("a", ""), ("g", "h")], &[]);
    clients.namespaces.update(all).await.unwrap();
    assert_eq!(labels_of(&mut clients, "busy").await, pairs(&[("g", "h")]), "all are replaced");
    let whole = update("busy", &[], &["labels"]);
    let refused = clients.namespaces.update(whole).await.unwrap_err();
    let told = "cannot update \"labels\" field";
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, told));
    assert_eq!(labels_of(&mut clients, "not-yet").await, pairs(&[]));
    clients.namespaces.update(update("not-yet", &[("k", "v")], &[])).await.unwrap();
    assert_eq!(labels_of(&mut clients, "not-yet").await, pairs(&[("k", "v")]));
    served.stop().await;
}

/// The labels of a namespace; one that is not there has none.
async fn labels_of(clients: &mut Clients, name: &str) -> HashMap<String, String> {
    let get = namespaces::GetNamespaceRequest { name: name.into() };
    clients.namespaces.get(get).await.unwrap().into_inner().namespace.unwrap().labels
}

#[tokio::test]
async fn events_follow_the_commits_and_are_resumed_by_number() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let digest = clients.put("", b"blob", &[]).await.unwrap();
    create(&mut clients, image("a", &digest)).await.unwrap();
    let all = NodeSubscribeRequest { from_start: true, ..Default::default() };
    let mut stream = clients.events.subscribe(all).await.unwrap().into_inner();
    let head = stream.message().await.unwrap().unwrap();
    assert!(head.event.is_none() && head.seq == 0);
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!((first.seq, first.topic.as_str()), (1, "/content/create"));
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!((second.namespace.as_str(), second.topic.as_str()), (NAMESPACE, "/images/create"));
    let any = second.event.unwrap();
    assert_eq!(any.type_url, "containerd.services.images.v1.ImageCreate");
    delete_image(&mut clients, "a", true).await.unwrap();
    let resume =
        NodeSubscribeRequest { from_seq: 3, incarnation: head.incarnation, ..Default::default() };
    let mut stream = clients.events.subscribe(resume).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().seq, 2);
    // What a collection drops is told of for images and snapshots alone, as containerd does.
    let other = clients.put("", b"other", &[]).await.unwrap();
    let request =
        berth_proto::containerd::services::content::v1::DeleteContentRequest { digest: other };
    clients.content.delete(on(NAMESPACE, request)).await.unwrap();
    for topic in ["/images/delete", "/content/create", "/content/delete"] {
        assert_eq!(stream.message().await.unwrap().unwrap().topic, topic);
    }
    assert!(!exists(&mut clients, &digest).await);
    drop(stream);
    served.stop().await;
}

#[tokio::test]
async fn a_blob_is_handed_over_as_an_open_file() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let digest = clients.put("", b"blob", &[]).await.unwrap();
    let request = OpenBlobRequest { namespace: NAMESPACE.into(), digest };
    let open = clients.blobs.open(request).await.unwrap().into_inner();
    let token = open.token.parse().unwrap();
    let deadline = std::time::Duration::from_secs(5);
    let fd = berth_fdpass::claim(&served.config.fd_socket(), &token, deadline).await.unwrap();
    let file = std::fs::File::from(fd);
    let bytes = berth_distribution::content::files::read_at(&file, 0, 4).unwrap();
    assert_eq!((open.size, &bytes[..]), (4, &b"blob"[..]));
    served.stop().await;
}

/// Nobody asks for a collection: a deletion does.
#[tokio::test]
async fn a_deletion_is_followed_by_a_collection() {
    let gc = "startup_delay = \"1h\"\ndeletion_threshold = 2\nmutation_threshold = 0\n";
    let served = Served::start_with(gc).await;
    let mut clients = served.clients();
    let root = [("containerd.io/gc.root", "1")];
    let kept = clients.put("", b"kept", &root).await.unwrap();
    let blob = clients.put("", b"blob", &[]).await.unwrap();
    for name in ["a", "b"] {
        create(&mut clients, image(name, &blob)).await.unwrap();
    }
    delete_image(&mut clients, "a", false).await.unwrap();
    assert!(exists(&mut clients, &blob).await, "an image names it");
    delete_image(&mut clients, "b", false).await.unwrap();
    gone(&mut clients, &blob).await;
    assert!(exists(&mut clients, &kept).await);
    served.stop().await;
}

#[tokio::test]
async fn many_writes_are_followed_by_a_collection() {
    let gc = "startup_delay = \"0s\"\npause_threshold = 0.5\ndeletion_threshold = 0\nmutation_threshold = 5\n";
    let served = Served::start_with(gc).await;
    let mut clients = served.clients();
    let blob = clients.put("", b"blob", &[]).await.unwrap();
    let root = [("containerd.io/gc.root", "1")];
    for number in 0..4 {
        clients.put("", format!("{number}").as_bytes(), &root).await.unwrap();
    }
    gone(&mut clients, &blob).await;
    served.stop().await;
}

#[tokio::test]
async fn a_start_is_followed_by_a_collection() {
    let served = Served::start().await;
    let blob = served.clients().put("", b"blob", &[]).await.unwrap();
    let gc = "startup_delay = \"10ms\"\ndeletion_threshold = 0\nmutation_threshold = 0\n";
    let served = served.restart_with(gc).await;
    gone(&mut served.clients(), &blob).await;
    served.stop().await;
}

/// Without a threshold a deletion has its turn, this service's own or one that another reports.
#[tokio::test]
async fn a_deletion_is_collected_in_turn() {
    let gc = "startup_delay = \"0s\"\npause_threshold = 0.5\nmutation_threshold = 0\n";
    let served = Served::start_with(gc).await;
    let mut clients = served.clients();
    for own in [true, false] {
        let blob = clients.put("", b"blob", &[]).await.unwrap();
        create(&mut clients, image("a", &blob)).await.unwrap();
        if own {
            delete_image(&mut clients, "a", false).await.unwrap();
        } else {
            let garbage = clients.put("", b"garbage", &[]).await.unwrap();
            let nothing = ReportRequest { changes: 31, deletions: 0 };
            clients.collection.report(nothing).await.unwrap();
            assert!(exists(&mut clients, &garbage).await);
            let deleted = ReportRequest { changes: 1, deletions: 1 };
            clients.collection.report(deleted).await.unwrap();
            gone(&mut clients, &garbage).await;
            delete_image(&mut clients, "a", false).await.unwrap();
        }
        gone(&mut clients, &blob).await;
    }
    served.stop().await;
}

/// Deletions that wait are collected together: each waits as long as the configuration says.
#[tokio::test]
async fn a_synchronous_deletion_waits_for_others() {
    let delay = Duration::from_millis(300);
    let gc = "startup_delay = \"1h\"\nmutation_threshold = 0\nschedule_delay = \"300ms\"\n";
    let served = Served::start_with(gc).await;
    let mut clients = served.clients();
    let blob = clients.put("", b"blob", &[]).await.unwrap();
    create(&mut clients, image("a", &blob)).await.unwrap();
    let begun = std::time::Instant::now();
    delete_image(&mut clients, "a", true).await.unwrap();
    assert!(begun.elapsed() >= delay && !exists(&mut clients, &blob).await);
    served.stop().await;
}
