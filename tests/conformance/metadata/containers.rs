//! Containers: what they must have, what of them may change, filters.

use anyhow::Result;
use berth_proto::containerd::services::containers::v1 as wire;
use prost_types::Any;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use wire::container::Runtime;

use super::{LONG, Suite, long, mask, pairs};

pub async fn run(suite: &mut Suite) -> Result<()> {
    suite.begin("containers")?;
    checks(suite).await;
    records(suite).await?;
    refusals(suite).await;
    updates(suite).await?;
    lists(suite).await?;
    deletions(suite).await;
    Ok(())
}

fn any(value: &str) -> Any {
    Any { type_url: "x/y".to_owned(), value: value.as_bytes().to_vec() }
}

fn container(id: &str) -> wire::Container {
    wire::Container {
        id: id.to_owned(),
        image: "image:1".to_owned(),
        runtime: Some(Runtime {
            name: "io.containerd.runc.v2".to_owned(),
            options: Some(any("options")),
        }),
        spec: Some(any("spec")),
        snapshotter: "native".to_owned(),
        snapshot_key: format!("{id}-key"),
        ..Default::default()
    }
}

async fn create(suite: &Suite, container: wire::Container) -> Result<wire::Container, Status> {
    let request = wire::CreateContainerRequest { container: Some(container) };
    let answer = suite.containers().create(suite.on(request)).await?;
    Ok(answer.into_inner().container.unwrap_or_default())
}

async fn get(suite: &Suite, id: &str) -> Result<wire::Container, Status> {
    let request = wire::GetContainerRequest { id: id.to_owned() };
    let answer = suite.containers().get(suite.on(request)).await?;
    Ok(answer.into_inner().container.unwrap_or_default())
}

async fn update(
    suite: &Suite,
    container: wire::Container,
    paths: &[&str],
) -> Result<wire::Container, Status> {
    let (container, update_mask) = (Some(container), mask(paths));
    let request = wire::UpdateContainerRequest { container, update_mask };
    let answer = suite.containers().update(suite.on(request)).await?;
    Ok(answer.into_inner().container.unwrap_or_default())
}

async fn checks(suite: &mut Suite) {
    let bare = container("wrong");
    let cases = [
        (
            "a container without a name",
            wire::Container { id: String::new(), ..bare.clone() },
            "container.ID: identifier must not be empty: invalid argument",
        ),
        (
            "a container of another form",
            wire::Container { id: "a/b".into(), ..bare.clone() },
            "container.ID: identifier \"a/b\" must match \
             ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument",
        ),
        (
            "an extension without a name",
            wire::Container { extensions: [(String::new(), any("x"))].into(), ..bare.clone() },
            "container.Extension keys must not be zero-length: invalid argument",
        ),
        (
            "a container without a runtime",
            wire::Container { runtime: Some(Runtime::default()), ..bare.clone() },
            "container.Runtime.Name must be set: invalid argument",
        ),
        (
            "a container without a specification",
            wire::Container { spec: None, ..bare.clone() },
            "container.Spec must be set: invalid argument",
        ),
        (
            "a container with a snapshot of no snapshotter",
            wire::Container { snapshotter: String::new(), ..bare.clone() },
            "container.Snapshotter must be set if container.SnapshotKey is set: invalid argument",
        ),
    ];
    for (what, wrong, text) in cases {
        let text = format!("create container failed validation: {text}");
        suite.refused(what, create(suite, wrong).await, Code::InvalidArgument, &text);
    }
    let labelled = create(suite, wire::Container { labels: long(), ..bare }).await;
    let text = format!("create container failed validation: containers.Labels: {LONG}");
    suite.refused("a container with a long label", labelled, Code::InvalidArgument, &text);
}

async fn records(suite: &mut Suite) -> Result<()> {
    let mut first = container("first");
    first.labels = pairs(&[("l", "1"), ("kept", "1"), ("empty", "")]);
    first.extensions = [("e".to_owned(), any("1")), ("kept".to_owned(), any("1"))].into();
    if let Some(made) = suite.done("a container", create(suite, first.clone()).await) {
        suite.is("its times", made.created_at.is_some(), true);
        suite.is("its times of creation and update", made.created_at, made.updated_at);
    }
    let found = get(suite, "first").await?;
    let stated = wire::Container {
        created_at: found.created_at,
        updated_at: found.updated_at,
        labels: pairs(&[("l", "1"), ("kept", "1")]),
        ..first.clone()
    };
    suite.is("what is on record of it", found, stated);
    let twice = create(suite, first).await;
    let text = "container \"first\": already exists";
    suite.refused("a container twice", twice, Code::AlreadyExists, text);
    let none = get(suite, "none").await;
    let text = "container \"none\" in namespace \"containers\": not found";
    suite.refused("a container that is not there", none, Code::NotFound, text);
    Ok(())
}

async fn refusals(suite: &mut Suite) {
    let nameless = update(suite, wire::Container::default(), &["image"]).await;
    let text = "must specify a container id: invalid argument";
    suite.refused("an update of a container without a name", nameless, Code::InvalidArgument, text);
    let none = update(suite, container("none"), &["image"]).await;
    let text = "container \"none\": not found";
    suite.refused("an update of no container", none, Code::NotFound, text);
    for path in ["created_at", "runtime", "snapshotter", "id", "sandbox", "x"] {
        let fixed = update(suite, container("first"), &["image", path]).await;
        let text = format!("cannot update {path:?} field on \"first\": invalid argument");
        let what = format!("an update of a container's {path}");
        suite.refused(&what, fixed, Code::InvalidArgument, &text);
    }
    for (what, new, field) in [
        (
            "an update to another snapshotter",
            wire::Container { snapshotter: "overlayfs".into(), ..container("first") },
            "container.Snapshotter",
        ),
        (
            "an update to another runtime",
            wire::Container {
                runtime: Some(Runtime { name: "io.containerd.x.v1".into(), options: None }),
                ..container("first")
            },
            "container.Runtime.Name",
        ),
    ] {
        let text = format!("{field} field is immutable: invalid argument");
        suite.refused(what, update(suite, new, &[]).await, Code::InvalidArgument, &text);
    }
    let bare = wire::Container { spec: None, ..container("first") };
    let text = "update failed validation: container.Spec must be set: invalid argument";
    suite.refused(
        "an update to nothing",
        update(suite, bare, &[]).await,
        Code::InvalidArgument,
        text,
    );
    let labelled = wire::Container { labels: long(), ..container("first") };
    let labelled = update(suite, labelled, &["labels"]).await;
    let text = format!("update failed validation: containers.Labels: {LONG}");
    suite.refused(
        "an update to a long label of a container",
        labelled,
        Code::InvalidArgument,
        &text,
    );
}

async fn updates(suite: &mut Suite) -> Result<()> {
    let before = get(suite, "first").await?;
    let mut new = container("first");
    (new.image, new.snapshot_key, new.spec) = ("image:2".into(), "other".into(), Some(any("new")));
    new.labels = pairs(&[("l", "2"), ("more", "2")]);
    new.extensions = [("e".to_owned(), any("2")), ("more".to_owned(), any("2"))].into();
    let paths = ["labels.l", "extensions.e", "image"];
    update(suite, new.clone(), &paths).await?;
    let mut stated = before.clone();
    stated.image = "image:2".into();
    stated.labels = pairs(&[("l", "2"), ("kept", "1")]);
    stated.extensions.insert("e".to_owned(), any("2"));
    let found = get(suite, "first").await?;
    let later = |new: &wire::Container, old: &wire::Container| {
        let time = |c: &wire::Container| c.updated_at.map(|at| (at.seconds, at.nanos));
        (new.created_at == old.created_at, time(new) > time(old))
    };
    suite.is("times after an update", later(&found, &before), (true, true));
    suite.is(
        "a container's fields one by one",
        wire::Container { updated_at: before.updated_at, ..found },
        stated,
    );
    update(suite, container("first"), &["labels.l"]).await?;
    let found = get(suite, "first").await?.labels;
    suite.is("a label that is taken away", found, pairs(&[("kept", "1")]));
    update(suite, new.clone(), &["spec", "snapshotkey", "extensions", "labels"]).await?;
    let found = get(suite, "first").await?;
    let told = (found.spec, found.snapshot_key, found.extensions, found.labels);
    let stated = (new.spec.clone(), new.snapshot_key.clone(), new.extensions.clone(), new.labels);
    suite.is("a container's fields as wholes", told, stated);
    update(suite, container("first"), &[]).await?;
    let found = get(suite, "first").await?;
    let times = (found.created_at, found.updated_at);
    let stated = wire::Container { created_at: times.0, updated_at: times.1, ..container("first") };
    suite.is("a container without a mask", found, stated);
    Ok(())
}

async fn listed(suite: &Suite, filters: &[&str]) -> Result<Vec<String>, Status> {
    let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let request = suite.on(wire::ListContainersRequest { filters });
    let found = suite.containers().list(request).await?.into_inner().containers;
    Ok(found.into_iter().map(|container| container.id).collect())
}

async fn lists(suite: &mut Suite) -> Result<()> {
    let mut second = container("second");
    (second.image, second.snapshotter) = ("image:2".into(), "overlayfs".into());
    second.runtime = Some(Runtime { name: "io.containerd.x.v1".into(), options: None });
    second.labels = pairs(&[("a.b/c", "x"), ("d", "y z")]);
    create(suite, second).await?;
    for (filters, stated) in [
        (&[][..], &["first", "second"][..]),
        (&["id==first"], &["first"]),
        (&["id!=first"], &["second"]),
        (&["id~=^sec"], &["second"]),
        (&["image==image:2"], &["second"]),
        (&["image"], &["first", "second"]),
        (&["runtime.name==io.containerd.x.v1"], &["second"]),
        (&["labels.\"a.b/c\"==x"], &["second"]),
        (&["labels.d==\"y z\",id==second"], &["second"]),
        (&["labels.d,id==first"], &[]),
        (&["labels.d", "id==first"], &["first", "second"]),
        (&["labels.none"], &[]),
        (&["snapshotter==overlayfs"], &[]),
        (&["none==first"], &[]),
    ] {
        let found = listed(suite, filters).await?;
        suite.is(
            &format!("containers that are {filters:?}"),
            found,
            stated.iter().map(|id| (*id).to_owned()).collect(),
        );
    }
    for filter in ["id==", "==x", "id=x", "labels.\"x"] {
        let found = listed(suite, &[filter]).await.map_err(|status| status.code());
        suite.is(&format!("containers that are {filter}"), found, Err(Code::InvalidArgument));
    }
    let request = wire::ListContainersRequest { filters: vec!["id==second".into()] };
    let mut parts = suite.containers().list_stream(suite.on(request)).await?.into_inner();
    let mut found = Vec::new();
    while let Some(part) = parts.next().await {
        found.push(part?.container.unwrap_or_default().id);
    }
    suite.is("containers one by one", found, vec!["second".to_owned()]);
    Ok(())
}

async fn deletions(suite: &mut Suite) {
    let delete = async |suite: &Suite, id: &str| {
        let request = wire::DeleteContainerRequest { id: id.to_owned() };
        suite.containers().delete(suite.on(request)).await
    };
    suite.done("a deletion of a container", delete(suite, "second").await);
    let twice = delete(suite, "second").await;
    suite.refused(
        "a deletion of no container",
        twice,
        Code::NotFound,
        "container second: not found",
    );
}
