//! Containers, images, leases and namespaces: codes and words of errors, filters, masks.

use std::collections::HashMap;

use anyhow::{Context, Result};
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::{self as services, Container, Image};
use containerd_client::tonic::Code;
use containerd_client::types::Descriptor;
use prost_types::FieldMask;

use crate::stage::{Client, NAMESPACE, Stage, refused};

pub fn paths(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

pub fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn update(
    client: &Client,
    container: Container,
    mask: Option<FieldMask>,
) -> Result<Container, containerd_client::tonic::Status> {
    let request =
        services::UpdateContainerRequest { container: Some(container), update_mask: mask };
    let answer = client.containers().update(client.request(request)).await?;
    Ok(answer.into_inner().container.unwrap_or_default())
}

async fn listed(client: &Client, filters: &[&str]) -> Result<Vec<String>> {
    let filters = filters.iter().map(ToString::to_string).collect();
    let list = services::ListContainersRequest { filters };
    let found = client.containers().list(client.request(list)).await?.into_inner().containers;
    Ok(found.into_iter().map(|container| container.id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_refused_filtered_and_changed_as_containerd_does() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    client.create("record-a", &["true"]).await?;
    client.create("record-b", &["true"]).await?;
    refused(client.create("record-a", &["true"]).await, Code::AlreadyExists, "already exists")?;
    refused(client.create("", &["true"]).await, Code::InvalidArgument, "")?;
    refused(client.create("a b", &["true"]).await, Code::InvalidArgument, "a b")?;
    refused(client.delete("none").await, Code::NotFound, "none")?;
    let get = services::GetContainerRequest { id: "record-a".into() };
    let nowhere = client.containers().get(get.clone()).await;
    refused(nowhere, Code::FailedPrecondition, "namespace is required")?;
    let found = client.containers().get(client.request(get)).await?.into_inner();
    let record = found.container.context("a record")?;

    let labelled = Container { labels: labels(&[("a.b/c", "x"), ("d", "z")]), ..record.clone() };
    let changed = update(&client, labelled.clone(), paths(&["labels"])).await?;
    assert_eq!(changed.labels, labelled.labels);
    let one = Container { labels: labels(&[("d", "new"), ("a.b/c", "y")]), ..record.clone() };
    let changed = update(&client, one, paths(&["labels.d"])).await?;
    assert_eq!(changed.labels, labels(&[("a.b/c", "x"), ("d", "new")]));
    let mask = paths(&["created_at"]);
    refused(update(&client, record.clone(), mask).await, Code::InvalidArgument, "created_at")?;
    let moved = Container { snapshotter: "other".into(), ..record.clone() };
    refused(update(&client, moved, None).await, Code::InvalidArgument, "immutable")?;
    let runtime = Some(Runtime { name: "io.containerd.other.v2".into(), options: None });
    let other = Container { runtime, ..record.clone() };
    refused(update(&client, other, None).await, Code::InvalidArgument, "immutable")?;
    let absent = Container { id: "none".into(), ..record };
    refused(update(&client, absent, paths(&["labels"])).await, Code::NotFound, "none")?;

    for (filters, ids) in [
        (vec![], vec!["record-a", "record-b"]),
        (vec!["id==record-a"], vec!["record-a"]),
        (vec!["id!=record-a"], vec!["record-b"]),
        (vec!["id~=^record-.$,runtime.name==io.containerd.runc.v2"], vec!["record-a", "record-b"]),
        (vec!["labels.\"a.b/c\"==x"], vec!["record-a"]),
        (vec!["labels.d", "id==record-b"], vec!["record-a", "record-b"]),
        (vec!["labels.none"], vec![]),
    ] {
        assert_eq!(listed(&client, &filters).await?, ids, "{filters:?}");
    }
    let bad = services::ListContainersRequest { filters: vec!["id==".into()] };
    refused(client.containers().list(client.request(bad)).await, Code::InvalidArgument, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn images_keep_what_a_mask_leaves_out() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let get = services::GetImageRequest { name: stage.image.clone() };
    let image = client.images().get(client.request(get)).await?.into_inner().image;
    let image = image.context("the image")?;
    let named = Image { name: "copy:1".into(), labels: labels(&[("a", "1")]), ..image.clone() };
    let create =
        |image: Image| services::CreateImageRequest { image: Some(image), ..Default::default() };
    let made = client.images().create(client.request(create(named.clone()))).await?.into_inner();
    assert_eq!(made.image.context("an image")?.target, image.target);
    let again = client.images().create(client.request(create(named.clone()))).await;
    refused(again, Code::AlreadyExists, "copy:1")?;
    let nothing = Image { name: "empty:1".into(), ..Default::default() };
    let nothing = client.images().create(client.request(create(nothing))).await;
    refused(nothing, Code::InvalidArgument, "")?;
    let update = |image: Image, mask: &[&str]| {
        client.request(services::UpdateImageRequest {
            image: Some(image),
            update_mask: paths(mask),
            ..Default::default()
        })
    };
    let target = Some(Descriptor { size: 1, ..image.target.clone().context("a target")? });
    let other = Image { labels: labels(&[("a", "2"), ("b", "3")]), target, ..named };
    let changed = client.images().update(update(other.clone(), &["labels.b"])).await?.into_inner();
    let changed = changed.image.context("an image")?;
    assert_eq!(changed.labels, labels(&[("a", "1"), ("b", "3")]));
    assert_eq!(changed.target, image.target);
    let wrong = client.images().update(update(other.clone(), &["name"])).await;
    refused(wrong, Code::InvalidArgument, "name")?;
    let list = services::ListImagesRequest { filters: vec!["labels.b==3".into()] };
    let found = client.images().list(client.request(list)).await?.into_inner().images;
    assert_eq!(found.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["copy:1"]);
    let delete = services::DeleteImageRequest { name: "none:1".into(), ..Default::default() };
    refused(client.images().delete(client.request(delete)).await, Code::NotFound, "none:1")
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_namespaces_say_what_they_hold() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?.leased("held").await?;
    let mut leases = LeasesClient::new(client.channel.clone());
    let resource =
        |r#type: &str| services::Resource { id: stage.top.clone(), r#type: r#type.into() };
    let kind = format!("snapshots/{}", stage.snapshotter);
    let add = services::AddResourceRequest { id: "held".into(), resource: Some(resource(&kind)) };
    leases.add_resource(client.request(add.clone())).await?;
    let unknown = services::AddResourceRequest { resource: Some(resource("none")), ..add.clone() };
    let unknown = leases.add_resource(client.request(unknown)).await;
    refused(unknown, Code::Unimplemented, "none")?;
    let absent = services::AddResourceRequest { id: "absent".into(), ..add };
    refused(leases.add_resource(client.request(absent)).await, Code::NotFound, "absent")?;
    let list = services::ListResourcesRequest { id: "held".into() };
    let held = leases.list_resources(client.request(list)).await?.into_inner().resources;
    assert_eq!(held, [resource(&kind)]);
    let again = services::CreateRequest { id: "held".into(), ..Default::default() };
    refused(leases.create(client.request(again)).await, Code::AlreadyExists, "held")?;

    let mut namespaces = NamespacesClient::new(client.channel.clone());
    let full = services::DeleteNamespaceRequest { name: NAMESPACE.into() };
    refused(namespaces.delete(full).await, Code::FailedPrecondition, "must be empty")?;
    let namespace = services::Namespace { name: "-".into(), ..Default::default() };
    let bad = services::CreateNamespaceRequest { namespace: Some(namespace) };
    refused(namespaces.create(bad).await, Code::InvalidArgument, "")?;
    Ok(())
}
