//! Leases.

use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::services::leases::v1 as leases;
use content::WriteAction;
use tonic::Code;

use crate::images::image;
use crate::support::{self, Clients, NAMESPACE, Served, digest, message, on, pairs};
use crate::{said, told};

pub async fn lease(clients: &mut Clients, id: &str) {
    let request = leases::CreateRequest { id: id.into(), ..Default::default() };
    clients.leases.create(on(NAMESPACE, request)).await.unwrap();
}

async fn held(clients: &mut Clients, id: &str) -> Vec<(String, String)> {
    let request = on(NAMESPACE, leases::ListResourcesRequest { id: id.into() });
    let found = clients.leases.list_resources(request).await.unwrap().into_inner().resources;
    found.into_iter().map(|resource| (resource.r#type, resource.id)).collect()
}

#[tokio::test]
async fn a_lease_takes_the_resources_that_it_can_hold() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let blob = digest(b"blob");
    let resource =
        |kind: &str, id: &str| Some(leases::Resource { r#type: kind.into(), id: id.into() });
    lease(&mut clients, "l").await;
    for (lease, kind, id, code, text) in [
        ("gone", "tasks", "x", Code::NotFound, "lease \"gone\": not found"),
        (
            "l",
            "tasks/x",
            "x",
            Code::Unimplemented,
            "resource type tasks/x not supported yet: not implemented",
        ),
        (
            "l",
            "images/x",
            "x",
            Code::InvalidArgument,
            "invalid resource type images/x: invalid argument",
        ),
        (
            "l",
            "snapshots",
            "x",
            Code::InvalidArgument,
            "invalid snapshot resource type snapshots: invalid argument",
        ),
        (
            "l",
            "content",
            "x",
            Code::InvalidArgument,
            "invalid content resource id x: invalid checksum digest format: invalid argument",
        ),
    ] {
        let add = leases::AddResourceRequest { id: lease.into(), resource: resource(kind, id) };
        let add = told(clients.leases.add_resource(on(NAMESPACE, add)).await);
        assert_eq!(add, said(code, text));
        let delete =
            leases::DeleteResourceRequest { id: lease.into(), resource: resource(kind, id) };
        let delete = told(clients.leases.delete_resource(on(NAMESPACE, delete)).await);
        assert_eq!(delete, said(code, text));
    }
    // Listed by kind, as containerd lists them, whatever order they came in.
    let all = [("content", blob.as_str()), ("images", "i"), ("ingests", "r")];
    for (kind, id) in all.iter().rev().chain(&all) {
        let add = leases::AddResourceRequest { id: "l".into(), resource: resource(kind, id) };
        clients.leases.add_resource(on(NAMESPACE, add)).await.unwrap();
    }
    let listed = all.map(|(kind, id)| (kind.to_owned(), id.to_owned()));
    assert_eq!(held(&mut clients, "l").await, listed);
    let delete = leases::DeleteRequest { id: "gone".into(), sync: false };
    let delete = told(clients.leases.delete(on(NAMESPACE, delete)).await);
    assert_eq!(delete, said(Code::NotFound, "lease \"gone\": not found"));
    served.stop().await;
}

/// Each lease under which an ingest was written holds it, over restarts too.
#[tokio::test]
async fn an_ingest_is_held_by_all_leases_that_it_was_written_under() {
    let mut served = Served::start().await;
    let mut clients = served.clients();
    for id in ["first", "second"] {
        lease(&mut clients, id).await;
        clients.session(id, vec![message(WriteAction::Write, "r", 0, b"part")]).await.1.unwrap();
    }
    for (id, left) in [("first", 1), ("second", 0)] {
        served = served.restart_with(support::NEVER).await;
        clients = served.clients();
        assert_eq!(held(&mut clients, id).await, [("ingests".to_owned(), "r".to_owned())]);
        let delete = leases::DeleteRequest { id: id.into(), sync: true };
        clients.leases.delete(on(NAMESPACE, delete)).await.unwrap();
        let list = content::ListStatusesRequest::default();
        let list = clients.content.list_statuses(on(NAMESPACE, list)).await.unwrap().into_inner();
        assert_eq!(list.statuses.len(), left, "after {id}");
    }
    served.stop().await;
}

/// A lease that is gone holds an ingest no more, nor does another of its name.
#[tokio::test]
async fn an_ingest_forgets_leases_that_are_gone() {
    let served = Served::start().await;
    let mut clients = served.clients();
    for id in ["first", "second"] {
        lease(&mut clients, id).await;
        clients.session(id, vec![message(WriteAction::Write, "r", 0, b"part")]).await.1.unwrap();
        if id == "first" {
            let delete = leases::DeleteRequest { id: id.into(), sync: false };
            clients.leases.delete(on(NAMESPACE, delete)).await.unwrap();
        }
    }
    let served = served.restart_with(support::NEVER).await;
    let mut clients = served.clients();
    lease(&mut clients, "first").await;
    assert!(held(&mut clients, "first").await.is_empty());
    assert_eq!(held(&mut clients, "second").await, [("ingests".to_owned(), "r".to_owned())]);
    served.stop().await;
}

/// An image that does not expire is nothing that a lease holds: the lease is not even looked for.
#[tokio::test]
async fn a_lease_holds_images_that_may_expire() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let under = |lease: &str, image: images::Image| {
        let request = images::CreateImageRequest { image: Some(image), ..Default::default() };
        berth_grpc::with_lease(on(NAMESPACE, request), lease).unwrap()
    };
    let expiring = |name: &str| images::Image {
        labels: pairs(&[("containerd.io/gc.expire", "2020-01-01T00:00:00Z")]),
        ..image(name, &digest(b"blob"))
    };
    clients.images.create(under("gone", image("stays", &digest(b"blob")))).await.unwrap();
    let refused = told(clients.images.create(under("gone", expiring("a"))).await);
    assert_eq!(refused, said(Code::NotFound, "lease does not exist: not found"));
    lease(&mut clients, "l").await;
    clients.images.create(under("l", image("other", &digest(b"blob")))).await.unwrap();
    clients.images.create(under("l", expiring("held"))).await.unwrap();
    clients.images.create(under("", expiring("loose"))).await.unwrap();
    assert_eq!(held(&mut clients, "l").await, [("images".to_owned(), "held".to_owned())]);
    let collect = berth_proto::berth::node::v1::CollectRequest {};
    clients.collection.collect(collect).await.unwrap();
    let list = clients.images.list(on(NAMESPACE, images::ListImagesRequest::default())).await;
    let names: Vec<_> = list.unwrap().into_inner().images.into_iter().map(|i| i.name).collect();
    assert_eq!(names, ["held", "other", "stays"]);
    served.stop().await;
}
