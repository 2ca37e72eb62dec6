//! Snapshots, tasks, sandboxes, events and introspection: codes and words of errors, filters, masks,
//! streams.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerd_client::events::ContainerCreate;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::sandbox::store_client::StoreClient;
use containerd_client::services::v1::sandbox::{
    StoreCreateRequest, StoreDeleteRequest, StoreGetRequest, StoreListRequest, StoreUpdateRequest,
};
use containerd_client::services::v1::snapshots::{
    CleanupRequest, CommitSnapshotRequest, Info, Kind, ListSnapshotsRequest, MountsRequest,
    PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest, UpdateSnapshotRequest,
};
use containerd_client::services::v1::{
    self as services, ForwardRequest, PluginInfoRequest, PluginsRequest, PublishRequest,
    SubscribeRequest,
};
use containerd_client::to_any;
use containerd_client::tonic::{Code, Request};
use containerd_client::types::{Envelope, RuntimeInfo, RuntimeRequest, Sandbox, sandbox};
use prost::Message;
use prost_types::{Any, Timestamp};

use crate::records::{labels, paths};
use crate::stage::{Client, Stage, refused};

/// The longest that an event may take to come.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_refused_filtered_and_changed_as_containerd_does() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?.leased("snapshots").await?;
    let snapshotter = stage.snapshotter.clone();
    let prepare = |key: &str, parent: &str| {
        let labels = labels(&[("a.b/c", "x"), ("d", "z")]);
        let (key, parent, snapshotter) = (key.to_owned(), parent.to_owned(), snapshotter.clone());
        client.request(PrepareSnapshotRequest { snapshotter, key, parent, labels })
    };
    client.snapshots().prepare(prepare("one", &stage.top)).await?;
    client.snapshots().prepare(prepare("two", "")).await?;
    let twice = client.snapshots().prepare(prepare("one", &stage.top)).await;
    refused(twice, Code::AlreadyExists, "one")?;
    refused(client.snapshots().prepare(prepare("three", "none")).await, Code::NotFound, "none")?;
    let absent = MountsRequest { snapshotter: snapshotter.clone(), key: "none".into() };
    refused(client.snapshots().mounts(client.request(absent)).await, Code::NotFound, "none")?;
    let remove = |key: &str| {
        let (snapshotter, key) = (snapshotter.clone(), key.to_owned());
        client.request(RemoveSnapshotRequest { snapshotter, key })
    };
    let used = client.snapshots().remove(remove(&stage.top)).await;
    refused(used, Code::FailedPrecondition, "cannot remove snapshot with child")?;
    let nobody = StatSnapshotRequest { snapshotter: "nobody".into(), key: "one".into() };
    refused(
        client.snapshots().stat(client.request(nobody)).await,
        Code::InvalidArgument,
        "nobody",
    )?;

    let update = |name: &str, pairs: &[(&str, &str)], mask: &[&str]| {
        let info = Info { name: name.to_owned(), labels: labels(pairs), ..Default::default() };
        let (info, update_mask, snapshotter) = (Some(info), paths(mask), snapshotter.clone());
        client.request(UpdateSnapshotRequest { snapshotter, info, update_mask })
    };
    let one = client.snapshots().update(update("one", &[("d", "new")], &["labels.d"])).await?;
    let changed = one.into_inner().info.context("its info")?;
    assert_eq!(changed.labels, labels(&[("a.b/c", "x"), ("d", "new")]));
    let fixed = client.snapshots().update(update("one", &[], &["parent"])).await;
    refused(fixed, Code::InvalidArgument, "cannot update")?;
    refused(client.snapshots().update(update("none", &[], &["labels"])).await, Code::NotFound, "")?;

    let commit = |name: &str, key: &str| {
        let (snapshotter, name, key) = (snapshotter.clone(), name.to_owned(), key.to_owned());
        let request = CommitSnapshotRequest { snapshotter, name, key, ..Default::default() };
        client.request(request)
    };
    client.snapshots().commit(commit("done", "two")).await?;
    refused(client.snapshots().commit(commit("again", "two")).await, Code::NotFound, "two")?;
    for (filters, names) in [
        (vec!["kind==active"], vec!["one"]),
        (vec!["name==done"], vec!["done"]),
        (vec!["labels.d==new", "name~=^do"], vec!["done", "one"]),
        (vec!["kind==view"], vec![]),
    ] {
        let found = listed(&client, &snapshotter, &filters).await?;
        assert_eq!(found, names, "{filters:?}");
    }
    let stat = StatSnapshotRequest { snapshotter: snapshotter.clone(), key: "done".into() };
    let stat = client.snapshots().stat(client.request(stat)).await?.into_inner().info;
    assert_eq!(stat.context("its info")?.kind(), Kind::Committed);
    client.snapshots().remove(remove("one")).await?;
    client.snapshots().remove(remove("done")).await?;
    Ok(())
}

/// A folder that belongs to no snapshot, as a crash leaves one, is cleared away; those that do are not.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_no_snapshot_is_cleaned_up() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let snapshotter = stage.snapshotter.clone();
    let folders = stage.node.path(&format!("root/bundle/{snapshotter}/snapshots"));
    let names = || -> Result<BTreeSet<_>> {
        let folders = fs_err::read_dir(&folders)?;
        folders.map(|folder| Ok(folder?.file_name())).collect()
    };
    let used = names()?;
    ensure!(!used.is_empty(), "the image has no snapshot");
    fs_err::create_dir_all(folders.join("999999/fs"))?;
    let cleanup = |snapshotter: &str| {
        let snapshotter = snapshotter.to_owned();
        client.request(CleanupRequest { snapshotter })
    };
    refused(client.snapshots().cleanup(cleanup("nobody")).await, Code::InvalidArgument, "nobody")?;
    client.snapshots().cleanup(cleanup(&snapshotter)).await?;
    assert_eq!(names()?, used);
    assert_eq!(listed(&client, &snapshotter, &[]).await?, [stage.top]);
    Ok(())
}

pub async fn listed(client: &Client, snapshotter: &str, filters: &[&str]) -> Result<Vec<String>> {
    let filters = filters.iter().map(ToString::to_string).collect();
    let list = ListSnapshotsRequest { snapshotter: snapshotter.to_owned(), filters };
    let mut parts = client.snapshots().list(client.request(list)).await?.into_inner();
    let mut names = Vec::new();
    while let Some(part) = parts.message().await? {
        names.extend(part.info.into_iter().map(|info| info.name));
    }
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_refused_as_containerd_does() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?.leased("tasks").await?;
    let mut tasks = client.tasks();
    let id = "others-box".to_owned();
    let get = |id: &str| {
        let container_id = id.to_owned();
        client.request(services::GetRequest { container_id, ..Default::default() })
    };
    refused(tasks.get(get("none")).await, Code::NotFound, "none")?;
    client.start(&stage.top, &id, &["sleep", "3600"]).await?;
    let create = services::CreateTaskRequest { container_id: id.clone(), ..Default::default() };
    refused(tasks.create(client.request(create)).await, Code::AlreadyExists, "already exists")?;
    let delete = || client.request(services::DeleteTaskRequest { container_id: id.clone() });
    refused(tasks.delete(delete()).await, Code::Unknown, "cannot delete a running process")?;
    let start = services::StartRequest { container_id: id.clone(), exec_id: "none".into() };
    refused(tasks.start(client.request(start)).await, Code::NotFound, "")?;
    let kill = |exec_id: &str, signal: u32| {
        let (container_id, exec_id) = (id.clone(), exec_id.to_owned());
        client.request(services::KillRequest { container_id, exec_id, signal, all: false })
    };
    refused(tasks.kill(kill("none", 9)).await, Code::NotFound, "")?;
    let list = services::ListPidsRequest { container_id: id.clone() };
    let pids = tasks.list_pids(client.request(list)).await?.into_inner().processes;
    ensure!(pids.len() == 1, "{pids:?}");
    let metrics = |filter: String| services::MetricsRequest { filters: vec![filter] };
    let told = tasks.metrics(client.request(metrics(format!("id=={id}")))).await?.into_inner();
    assert_eq!(told.metrics.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    let pause = services::PauseTaskRequest { container_id: id.clone() };
    tasks.pause(client.request(pause)).await?;
    let found = tasks.get(get(&id)).await?.into_inner().process.context("a process")?;
    assert_eq!(found.status(), containerd_client::types::v1::Status::Paused);
    let resume = services::ResumeTaskRequest { container_id: id.clone() };
    tasks.resume(client.request(resume)).await?;
    client.kill(&id).await?;
    ensure!(client.wait(&id, "").await? == 137, "it is killed");
    refused(tasks.kill(kill("", 9)).await, Code::NotFound, "")?;
    client.remove(&id).await?;
    refused(tasks.delete(delete()).await, Code::NotFound, &id)
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_are_refused_filtered_and_changed_as_containerd_does() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let mut store = StoreClient::new(client.channel.clone());
    let made = |id: &str, pairs: &[(&str, &str)]| Sandbox {
        sandbox_id: id.to_owned(),
        runtime: Some(sandbox::Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        labels: labels(pairs),
        sandboxer: "shim".into(),
        ..Default::default()
    };
    let create = |made: Sandbox| client.request(StoreCreateRequest { sandbox: Some(made) });
    store.create(create(made("s1", &[("a", "1")]))).await?;
    store.create(create(made("s2", &[]))).await?;
    refused(store.create(create(made("s1", &[]))).await, Code::AlreadyExists, "s1")?;
    let get = |id: &str| client.request(StoreGetRequest { sandbox_id: id.to_owned() });
    refused(store.get(get("none")).await, Code::NotFound, "none")?;
    let update = |sandbox: Sandbox, fields: &[&str]| {
        let fields = fields.iter().map(ToString::to_string).collect();
        client.request(StoreUpdateRequest { sandbox: Some(sandbox), fields })
    };
    store.update(update(made("s1", &[("a", "2"), ("b", "2")]), &["labels.b"])).await?;
    let found = store.get(get("s1")).await?.into_inner().sandbox.context("a sandbox")?;
    assert_eq!(found.labels, labels(&[("a", "1"), ("b", "2")]));
    let fixed = store.update(update(made("s1", &[]), &["created_at"])).await;
    refused(fixed, Code::InvalidArgument, "cannot update \"created_at\" field on sandbox \"s1\"")?;
    refused(store.update(update(made("none", &[]), &["labels"])).await, Code::NotFound, "none")?;
    let list = |filter: &str| client.request(StoreListRequest { filters: vec![filter.to_owned()] });
    for (filter, ids) in [("id==s2", vec!["s2"]), ("labels.b==2", vec!["s1"]), ("id==x", vec![])] {
        let found = store.list(list(filter)).await?.into_inner().list;
        assert_eq!(found.iter().map(|s| s.sandbox_id.as_str()).collect::<Vec<_>>(), ids);
    }
    for id in ["s1", "s2"] {
        let delete = StoreDeleteRequest { sandbox_id: id.into() };
        store.delete(client.request(delete)).await?;
    }
    refused(store.get(get("s1")).await, Code::NotFound, "s1")
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_by_filters_and_in_their_order() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let mut events = EventsClient::new(client.channel.clone());
    let subscribe = |filters: &[&str]| {
        let filters = filters.iter().map(ToString::to_string).collect();
        Request::new(SubscribeRequest { filters })
    };
    refused(events.subscribe(subscribe(&["topic=="])).await, Code::InvalidArgument, "")?;
    let filters = [r#"topic~="^/containers/",namespace==client"#, r#"topic=="/mine/own""#];
    let mut stream = events.subscribe(subscribe(&filters)).await?.into_inner();
    client.create("others-a", &["true"]).await?;
    let made = ContainerCreate { id: "told".into(), image: "i".into(), runtime: None };
    let publish = |topic: &str, event: Any| {
        client.request(PublishRequest { topic: topic.to_owned(), event: Some(event) })
    };
    events.publish(publish("/mine/other", to_any(&made))).await?;
    events.publish(publish("/mine/own", to_any(&made))).await?;
    client.delete("others-a").await?;
    refused(events.publish(publish("mine", to_any(&made))).await, Code::InvalidArgument, "")?;
    let mut topics = Vec::new();
    for _ in 0..3 {
        let next = tokio::time::timeout(SOON, stream.message()).await;
        let event = next.context("no event")??.context("the stream ends")?;
        assert_eq!(event.namespace, "client");
        if event.topic == "/mine/own" {
            let event = event.event.context("an event")?;
            ensure!(event.type_url.ends_with("containerd.events.ContainerCreate"), "{event:?}");
            assert_eq!(ContainerCreate::decode(event.value.as_slice())?, made);
        }
        topics.push(event.topic);
    }
    // Those of one service in its order; runtime told them all.
    assert_eq!(topics, ["/containers/create", "/mine/own", "/containers/delete"]);
    Ok(())
}

/// Forwarded events are told as they are, of whichever namespace they say and of their own time.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_forwarded_as_they_are() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let mut events = EventsClient::new(client.channel.clone());
    let filters = vec![r#"topic=="/mine/forwarded""#.to_owned()];
    let subscribe = Request::new(SubscribeRequest { filters });
    let mut stream = events.subscribe(subscribe).await?.into_inner();
    let made = ContainerCreate { id: "told".into(), image: "i".into(), runtime: None };
    let whole = Envelope {
        timestamp: Some(Timestamp { seconds: 1_500_000_000, nanos: 7 }),
        namespace: "elsewhere".into(),
        topic: "/mine/forwarded".into(),
        event: Some(to_any(&made)),
    };
    // It says its namespace itself.
    let forward = |envelope| Request::new(ForwardRequest { envelope });
    for (envelope, words) in [
        (None, "envelope must be set"),
        (Some(Envelope { timestamp: None, ..whole.clone() }), "timestamp must be set"),
        (Some(Envelope { namespace: "a b".into(), ..whole.clone() }), "invalid namespace"),
        (Some(Envelope { namespace: String::new(), ..whole.clone() }), "invalid namespace"),
        (Some(Envelope { topic: "mine".into(), ..whole.clone() }), "must start with '/'"),
        (Some(Envelope { event: None, ..whole.clone() }), "event must be set"),
    ] {
        refused(events.forward(forward(envelope)).await, Code::InvalidArgument, words)?;
    }
    events.forward(forward(Some(whole.clone()))).await?;
    let next = tokio::time::timeout(SOON, stream.message()).await;
    let event = next.context("no event")??.context("the stream ends")?;
    assert_eq!(event.event.as_ref().map(|any| &any.value), Some(&to_any(&made).value));
    assert_eq!(Envelope { event: whole.event.clone(), ..event }, whole);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_listed_by_filters() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let mut introspection = IntrospectionClient::new(client.channel.clone());
    let list = |filters: &[&str]| {
        let filters = filters.iter().map(ToString::to_string).collect();
        client.request(PluginsRequest { filters })
    };
    let all = introspection.plugins(list(&[])).await?.into_inner().plugins;
    ensure!(all.len() > 30, "only {} plugins", all.len());
    let filter = ["type==io.containerd.snapshotter.v1,id==native"];
    let found = introspection.plugins(list(&filter)).await?.into_inner().plugins;
    ensure!(found.len() == 1 && found[0].id == "native", "{found:?}");
    let bad = introspection.plugins(list(&["id=="])).await;
    refused(bad, Code::InvalidArgument, "")?;
    let server = introspection.server(client.request(())).await?.into_inner();
    ensure!(server.uuid.len() == 36 && server.pid > 0, "{server:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_tells_of_itself() -> Result<()> {
    const RUNTIME: &str = "io.containerd.runtime.v2";
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let mut introspection = IntrospectionClient::new(client.channel.clone());
    let ask = |kind: &str, id: &str, options: Option<Any>| {
        let (r#type, id) = (kind.to_owned(), id.to_owned());
        client.request(PluginInfoRequest { r#type, id, options })
    };
    let plain = introspection.plugin_info(ask(RUNTIME, "task", None)).await?.into_inner();
    let plugin = plain.plugin.context("a plugin")?;
    assert_eq!((plugin.r#type.as_str(), plugin.id.as_str(), plain.extra), (RUNTIME, "task", None));
    let of = |runtime_path: &str| {
        let runtime_path = runtime_path.to_owned();
        Some(to_any(&RuntimeRequest { runtime_path, options: None }))
    };
    // Asked of the shim that is named.
    let runc = ask(RUNTIME, "task", of("io.containerd.runc.v2"));
    let extra = introspection.plugin_info(runc).await?.into_inner().extra.context("more of it")?;
    ensure!(extra.type_url.ends_with("containerd.types.RuntimeInfo"), "{extra:?}");
    let info = RuntimeInfo::decode(extra.value.as_slice())?;
    assert_eq!(info.name, "io.containerd.runc.v2");
    ensure!(info.version.is_some() && info.features.is_some(), "{info:?}");

    let no_shim = introspection.plugin_info(ask(RUNTIME, "task", of("io.containerd.no.v1"))).await;
    refused(no_shim, Code::Unknown, "containerd-shim-no-v1")?;
    let absent = introspection.plugin_info(ask(RUNTIME, "none", None)).await;
    refused(absent, Code::NotFound, "plugin io.containerd.runtime.v2.none not found")?;
    let more = of("io.containerd.runc.v2");
    let other = ask("io.containerd.snapshotter.v1", "native", more);
    refused(introspection.plugin_info(other).await, Code::Unimplemented, "")
}
