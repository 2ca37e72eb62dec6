//! Sandbox records through the real service.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types::{Sandbox, sandbox::Runtime};
use support::{Node, ns};
use tonic::Code;
use wire::store_client::StoreClient;

fn sandbox(id: &str, app: &str) -> Sandbox {
    Sandbox {
        sandbox_id: id.into(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        labels: [("app".to_owned(), app.to_owned())].into(),
        sandboxer: "podsandbox".into(),
        ..Default::default()
    }
}

fn create(sandbox: Sandbox) -> tonic::Request<wire::StoreCreateRequest> {
    ns(wire::StoreCreateRequest { sandbox: Some(sandbox) })
}

fn get(id: &str) -> tonic::Request<wire::StoreGetRequest> {
    ns(wire::StoreGetRequest { sandbox_id: id.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_are_kept_listed_changed_and_deleted() {
    let mut node = Node::start().await;
    let mut store = StoreClient::new(node.channel.clone());
    for (id, app) in [("a", "web"), ("b", "web"), ("c", "db")] {
        let made = store.create(create(sandbox(id, app))).await.unwrap().into_inner();
        assert!(made.sandbox.unwrap().created_at.is_some());
    }
    let again = store.create(create(sandbox("a", "x"))).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists, "{again}");
    assert!(again.message().contains("\"a\""), "{again}");
    let bad = store.create(create(sandbox("a/b", "x"))).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument, "{bad}");
    let none = store.create(ns(wire::StoreCreateRequest { sandbox: None })).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument, "{none}");

    node.kill_and_restart().await;
    let mut store = StoreClient::new(node.channel.clone());
    let list = ns(wire::StoreListRequest { filters: vec!["labels.app==web".into()] });
    let found = store.list(list).await.unwrap().into_inner().list;
    assert_eq!(found.iter().map(|s| s.sandbox_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);

    let update = wire::StoreUpdateRequest {
        sandbox: Some(sandbox("a", "changed")),
        fields: vec!["labels.app".into()],
    };
    store.update(ns(update)).await.unwrap();
    let kept = store.get(get("a")).await.unwrap().into_inner().sandbox.unwrap();
    assert_eq!((kept.labels["app"].as_str(), kept.sandboxer.as_str()), ("changed", "podsandbox"));
    let mut other = sandbox("a", "");
    other.runtime.as_mut().unwrap().name = "io.containerd.other.v1".into();
    let whole = |sandbox| wire::StoreUpdateRequest { sandbox: Some(sandbox), fields: vec![] };
    let fixed = store.update(ns(whole(other.clone()))).await.unwrap_err();
    assert_eq!(fixed.message(), "sandbox.Runtime.Name field is immutable: invalid argument");
    other.runtime.as_mut().unwrap().name = "io.containerd.runc.v2".into();
    let bare = store.update(ns(whole(other))).await.unwrap().into_inner().sandbox.unwrap();
    assert_eq!(bare.labels.len(), 0, "an empty label is none");
    let unknown = wire::StoreUpdateRequest { sandbox: Some(sandbox("x", "y")), fields: vec![] };
    assert_eq!(store.update(ns(unknown)).await.unwrap_err().code(), Code::NotFound);

    let delete = |id: &str| ns(wire::StoreDeleteRequest { sandbox_id: id.into() });
    store.delete(delete("a")).await.unwrap();
    assert_eq!(store.get(get("a")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(store.delete(delete("a")).await.unwrap_err().code(), Code::NotFound);
    let leased = berth_grpc::with_lease(create(sandbox("d", "web")), "gone").unwrap();
    assert_eq!(store.create(leased).await.unwrap_err().code(), Code::NotFound);
    node.finish().await;
}
