//! The same as clients get it.

use std::sync::Arc;
use std::time::Duration;

use berth_cluster::Error;
use berth_cluster::api::Service;
use berth_cluster::inspect::{Inspect, Pieces};
use berth_cluster::keys::Kind;
use berth_cluster::names::NodeName;
use berth_cluster::objects::{Object, Published, TaskState};
use berth_cluster::publish::{Registration, Standing};
use berth_proto::berth::cluster::v1 as wire;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tonic::{Code, Request};
use wire::cluster_server::Cluster;

use super::stage::{SOON, Stage, container, node};

/// Knows one node.
struct One;

impl Inspect for One {
    fn inspect(&self, asked: Option<NodeName>) -> BoxFuture<'_, berth_cluster::Result<Pieces>> {
        let name: NodeName = "n-1".parse().unwrap();
        let answer = match asked {
            Some(asked) if asked != name => Err(Error::NoNode(asked.to_string())),
            _ => {
                let piece = vec![(name, None::<berth_cluster::keys::Held>, node("u"))];
                let away = Error::TooMany("enough".into());
                Ok(futures::stream::iter([Ok(piece), Err(away)]).boxed())
            }
        };
        std::future::ready(answer).boxed()
    }
}

fn service(stage: &Stage) -> (Service, watch::Sender<Standing>) {
    let since = time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(7);
    let published = Published { images: 1, containers: 2, left_out: 3 };
    let registration = Registration::Registered;
    let standing = Standing { registration, trouble: None, since, waiting: 4, published };
    let (sender, standing) = watch::channel(standing);
    let service = Service {
        cluster: "c".parse().unwrap(),
        node: "n-1".parse().unwrap(),
        views: stage.views.clone(),
        standing,
        inspect: Arc::new(One),
        stop: stage.tasks.token(),
    };
    (service, sender)
}

fn list(filters: &[&str], page_size: u32, page_token: &str) -> Request<wire::ListRequest> {
    let filters = filters.iter().map(|&filter| filter.into()).collect();
    let kind = wire::Kind::Containers.into();
    Request::new(wire::ListRequest { kind, filters, page_size, page_token: page_token.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_list_and_watch() {
    let mut stage = Stage::new().await;
    for name in ["a", "b", "c"] {
        stage.put_container("n-1", name, TaskState::Running).await;
    }
    let (service, _standing) = service(&stage);
    let first = service.list(list(&[], 2, "")).await.unwrap().into_inner();
    assert_eq!(first.objects.len(), 2);
    let second = service.list(list(&[], 2, &first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((second.objects.len(), second.next_page_token.as_str()), (1, ""));
    let [object] = &second.objects[..] else { panic!("{second:?}") };
    let name = (object.node.as_str(), object.namespace.as_str(), object.name.as_str());
    assert_eq!(name, ("n-1", "default", "c"));
    let (_, _, read, revision) = berth_cluster::peers::shown::from_wire(object.clone()).unwrap();
    assert_eq!(read, container(TaskState::Running));
    let view = second.view.unwrap();
    assert_eq!((view.revision, view.connected, view.unreadable), (revision, true, 0));
    assert!(view.age.is_some_and(|age| age.seconds < 60), "{view:?}");
    let some = service.list(list(&["id==a", "id==b"], 0, "")).await.unwrap().into_inner();
    assert_eq!(some.objects.len(), 2);

    let request = wire::WatchRequest {
        kind: wire::Kind::Containers.into(),
        filters: Vec::new(),
        from_revision: view.revision + 1,
    };
    let mut watch = service.watch(Request::new(request)).await.unwrap().into_inner();
    stage.remove_container("n-1", "b").await;
    let change = loop {
        let message = tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap().unwrap();
        if let Some(change) = message.changes.into_iter().next() {
            break change;
        }
    };
    assert!(change.deleted && change.object.is_some_and(|it| it.name == "b" && it.is.is_some()));
    // Its end is the process's.
    stage.tasks.token().cancel();
    let end = tokio::time::timeout(SOON, async { while watch.next().await.is_some() {} });
    assert!(end.await.is_ok(), "the stream goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_ask_wrongly_is_refused_in_words() {
    let stage = Stage::new().await;
    let (service, _standing) = service(&stage);
    let none = wire::ListRequest::default();
    let many: Vec<&str> = vec!["id==a"; 65];
    for (request, words) in [
        (Request::new(none), "kind 0 is none of nodes"),
        (list(&["id=="], 0, ""), "parse error"),
        (list(&[], 0, "00"), "list from the start"),
        (list(&many, 0, ""), "at most 64 filters"),
    ] {
        let refused = service.list(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(words), "{refused:?}");
    }
    let request = wire::WatchRequest {
        kind: wire::Kind::Nodes.into(),
        filters: Vec::new(),
        from_revision: 1 << 40,
    };
    let refused = service.watch(Request::new(request)).await.err().unwrap();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    for (node, code) in [("a b", Code::InvalidArgument), ("n-2", Code::NotFound)] {
        let request = Request::new(wire::InspectRequest { node: node.into() });
        let refused = service.inspect(request).await.err().unwrap();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_shown_as_it_says_and_its_standing_is_told() {
    let stage = Stage::new().await;
    let (service, standing) = service(&stage);
    let request = Request::new(wire::InspectRequest::default());
    let mut pieces = service.inspect(request).await.unwrap().into_inner();
    let first = pieces.next().await.unwrap().unwrap();
    let (_, _, read, _) = berth_cluster::peers::shown::from_wire(first.objects[0].clone()).unwrap();
    assert!(matches!(read, Object::Node(node) if node.uuid == "u"));
    let end = pieces.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::ResourceExhausted);

    stage.list(Kind::Images, "").await;
    let status =
        async || service.status(Request::new(wire::StatusRequest {})).await.unwrap().into_inner();
    let told = status().await;
    assert_eq!((told.cluster.as_str(), told.node.as_str()), ("c", "n-1"));
    use wire::status_response::Registration as Wire;
    assert_eq!((told.registration(), told.trouble.as_str()), (Wire::Registered, ""));
    assert_eq!((told.since.unwrap().seconds, told.waiting), (7, 4));
    assert_eq!(told.published.unwrap().left_out, 3);
    let [view] = &told.views[..] else { panic!("{:?}", told.views) };
    assert_eq!((view.kind(), view.objects, view.readers), (wire::Kind::Images, 0, 0));
    assert!(view.view.is_some_and(|view| view.connected));

    let by = "10.0.0.9:1".to_owned();
    standing.send_modify(|now| now.registration = Registration::Refused { by });
    let told = status().await;
    assert_eq!(told.registration(), Wire::Refused);
    assert_eq!(told.trouble, "another node has the name: it is at 10.0.0.9:1");
    standing.send_modify(|now| now.trouble = Some("no space".into()));
    assert_eq!(status().await.trouble, "no space");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_views_do_is_told_with_the_metrics() {
    let mut stage = Stage::new().await;
    stage.views.register();
    stage.put_container("n", "a", TaskState::Running).await;
    let _watching = stage.watch(Kind::Containers, "", 0).await;
    stage.put_container("n", "b", TaskState::Running).await;
    let two = |listed: &berth_cluster::view::Listed| listed.items.len() == 2;
    stage.until(Kind::Containers, "b is shown", two).await;
    let text = berth_metrics::all().await;
    let of = "{kind=\"containers\"}";
    for line in [
        format!("berth_cluster_view_objects{of} 2"),
        format!("berth_cluster_view_readers{of} 1"),
        format!("berth_cluster_view_changes_total{of} 1"),
        format!("berth_cluster_view_unreadable{of} 0"),
        format!("berth_cluster_reconnects_total{of} 0"),
        // It was not asked for anything yet.
        format!("berth_cluster_view_lag{of} 1"),
        "berth_cluster_view_relists_total{kind=\"containers\",reason=\"compacted\"} 0".into(),
        "berth_cluster_view_changes_total{kind=\"nodes\"} 0".into(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
    assert!(text.contains(&format!("berth_cluster_view_age_seconds{of} ")), "{text}");
}
