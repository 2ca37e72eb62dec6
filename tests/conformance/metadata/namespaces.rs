//! Namespaces and their labels. Calls name a namespace besides, without which 1.6 tells no event.

use std::collections::HashMap;

use anyhow::Result;
use berth_proto::containerd::services::content::v1::DeleteContentRequest;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::services::namespaces::v1 as wire;
use berth_proto::containerd::types::Descriptor;
use tonic::{Code, Status};

use super::{LONG, Suite, long, mask, pairs};

pub async fn run(suite: &mut Suite) -> Result<()> {
    records(suite).await?;
    updates(suite).await?;
    deletions(suite).await
}

async fn create(suite: &Suite, name: &str, labels: HashMap<String, String>) -> Result<(), Status> {
    let namespace = Some(wire::Namespace { name: name.to_owned(), labels });
    let request = wire::CreateNamespaceRequest { namespace };
    suite.namespaces().create(suite.on(request)).await.map(drop)
}

async fn labels(suite: &Suite, name: &str) -> Result<HashMap<String, String>, Status> {
    let get = wire::GetNamespaceRequest { name: name.to_owned() };
    Ok(suite
        .namespaces()
        .get(suite.on(get))
        .await?
        .into_inner()
        .namespace
        .unwrap_or_default()
        .labels)
}

async fn records(suite: &mut Suite) -> Result<()> {
    let form = create(suite, "a/b", pairs(&[])).await;
    let text =
        "identifier \"a/b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument";
    suite.refused("a namespace of another form", form, Code::InvalidArgument, text);
    let name = "n".repeat(77);
    let size = create(suite, &name, pairs(&[])).await;
    let text = format!(
        "identifier {name:?} greater than maximum length (76 characters): invalid argument"
    );
    suite.refused("a namespace that is too long", size, Code::InvalidArgument, &text);
    let labelled = create(suite, "labelled", long()).await;
    let text = format!("namespace.Labels: {LONG}");
    suite.refused("a namespace with a long label", labelled, Code::InvalidArgument, &text);
    create(suite, "made", pairs(&[("a", "1"), ("b", "1"), ("empty", "")])).await?;
    let found = labels(suite, "made").await?;
    suite.is("a namespace's labels", found, pairs(&[("a", "1"), ("b", "1")]));
    let twice = create(suite, "made", pairs(&[])).await;
    let text = "namespace \"made\": already exists";
    suite.refused("a namespace twice", twice, Code::AlreadyExists, text);
    let found = labels(suite, "not-there").await?;
    suite.is("a namespace that is not there", found, pairs(&[]));
    Ok(())
}

async fn updates(suite: &mut Suite) -> Result<()> {
    let update = async |suite: &Suite, new: HashMap<String, String>, paths: &[&str]| {
        let namespace = Some(wire::Namespace { name: "made".into(), labels: new });
        let request = wire::UpdateNamespaceRequest { namespace, update_mask: mask(paths) };
        suite.namespaces().update(suite.on(request)).await
    };
    let fixed = update(suite, pairs(&[]), &["labels"]).await;
    let text = "cannot update \"labels\" field";
    suite.refused("an update of all labels by name", fixed, Code::InvalidArgument, text);
    let new = pairs(&[("a", "2"), ("c", "2")]);
    update(suite, new.clone(), &["labels.a", "labels.b"]).await?;
    let found = labels(suite, "made").await?;
    suite.is("labels of a namespace one by one", found, pairs(&[("a", "2")]));
    update(suite, pairs(&[("d", "3")]), &[]).await?;
    let found = labels(suite, "made").await?;
    suite.is("labels of a namespace without a mask", found, pairs(&[("d", "3")]));
    let long = update(suite, long(), &[]).await;
    let text = format!("namespace.Labels: {LONG}");
    suite.refused("an update to a long label of a namespace", long, Code::InvalidArgument, &text);
    Ok(())
}

async fn deletions(suite: &mut Suite) -> Result<()> {
    let delete = async |suite: &Suite, name: &str| {
        let request = wire::DeleteNamespaceRequest { name: name.into() };
        suite.namespaces().delete(suite.on(request)).await
    };
    suite.begin("full")?;
    let blob = suite.put(None, b"blob", &[("containerd.io/gc.root", "1")]).await?;
    let target = Some(Descriptor {
        digest: blob.clone(),
        size: 4,
        media_type: "application/x".into(),
        ..Default::default()
    });
    let image = Some(images::Image { name: "i".into(), target, ..Default::default() });
    let create = images::CreateImageRequest { image, source_date_epoch: None };
    suite.images().create(suite.on(create)).await?;
    let full = delete(suite, "full").await;
    let text =
        "namespace \"full\" must be empty, but it still has images, blobs: failed precondition";
    suite.refused("a deletion of what is not empty", full, Code::FailedPrecondition, text);
    let image = images::DeleteImageRequest { name: "i".into(), ..Default::default() };
    suite.images().delete(suite.on(image)).await?;
    suite.content().delete(suite.on(DeleteContentRequest { digest: blob })).await?;
    suite.done("a deletion of what is empty", delete(suite, "full").await);
    let twice = delete(suite, "full").await;
    let text = "namespace \"full\": not found";
    suite.refused("a deletion of no namespace", twice, Code::NotFound, text);
    Ok(())
}
