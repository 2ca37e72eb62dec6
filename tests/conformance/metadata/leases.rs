//! Leases and the resources that they hold.

use anyhow::Result;
use berth_proto::containerd::services::content::v1::WriteAction;
use berth_proto::containerd::services::leases::v1 as wire;
use berth_testkit::sha256;
use tonic::{Code, Request, Status};

use super::{Suite, message, pairs};

pub async fn run(suite: &mut Suite) -> Result<()> {
    suite.begin("leases")?;
    namespaces(suite).await;
    records(suite).await?;
    refusals(suite).await;
    resources(suite).await
}

async fn namespaces(suite: &mut Suite) {
    let list = suite.leases().list(Request::new(wire::ListRequest::default())).await;
    let text = "namespace is required: failed precondition";
    suite.refused("a call without a namespace", list, Code::FailedPrecondition, text);
    let mut request = Request::new(wire::ListRequest::default());
    if let Ok(name) = "a/b".parse() {
        request.metadata_mut().insert("containerd-namespace", name);
    }
    let list = suite.leases().list(request).await;
    let text = "namespace validation: identifier \"a/b\" must match \
        ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument";
    suite.refused("a call in what is no namespace", list, Code::InvalidArgument, text);
}

async fn create(suite: &Suite, id: &str, labels: &[(&str, &str)]) -> Result<wire::Lease, Status> {
    let request = wire::CreateRequest { id: id.to_owned(), labels: pairs(labels) };
    let answer = suite.leases().create(suite.on(request)).await?;
    Ok(answer.into_inner().lease.unwrap_or_default())
}

async fn records(suite: &mut Suite) -> Result<()> {
    let made = create(suite, "l", &[("a", "b"), ("empty", "")]).await?;
    suite.is("a lease's labels", made.labels, pairs(&[("a", "b")]));
    suite.is("a lease has a time", made.created_at.is_some(), true);
    let twice = create(suite, "l", &[]).await;
    suite.refused("a lease twice", twice, Code::AlreadyExists, "lease \"l\": already exists");
    let nameless = create(suite, "", &[]).await?;
    suite.is("a lease without a name gets one", nameless.id.is_empty(), false);
    for (filter, count) in [("", 2), ("id==l", 1), ("labels.a==b", 1), ("labels.a==c", 0)] {
        let filters = if filter.is_empty() { vec![] } else { vec![filter.to_owned()] };
        let list = suite.leases().list(suite.on(wire::ListRequest { filters })).await?;
        suite.is(&format!("leases with {filter:?}"), list.into_inner().leases.len(), count);
    }
    let delete = wire::DeleteRequest { id: "none".into(), sync: false };
    let delete = suite.leases().delete(suite.on(delete)).await;
    suite.refused("a deletion of no lease", delete, Code::NotFound, "lease \"none\": not found");
    Ok(())
}

fn resource(kind: &str, id: &str) -> Option<wire::Resource> {
    Some(wire::Resource { r#type: kind.to_owned(), id: id.to_owned() })
}

async fn refusals(suite: &mut Suite) {
    for (id, kind, resource_id, code, text) in [
        ("none", "tasks", "x", Code::NotFound, "lease \"none\": not found"),
        (
            "l",
            "tasks/x",
            "x",
            Code::Unimplemented,
            "resource type tasks/x not supported yet: not implemented",
        ),
        (
            "l",
            "streams",
            "x",
            Code::Unimplemented,
            "resource type streams not supported yet: not implemented",
        ),
        (
            "l",
            "mounts",
            "x",
            Code::Unimplemented,
            "resource type mounts not supported yet: not implemented",
        ),
        (
            "l",
            "containers",
            "x",
            Code::Unimplemented,
            "resource type containers not supported yet: not implemented",
        ),
        ("l", "", "x", Code::Unimplemented, "resource type  not supported yet: not implemented"),
        (
            "l",
            "content/x",
            "x",
            Code::InvalidArgument,
            "invalid resource type content/x: invalid argument",
        ),
        (
            "l",
            "snapshots/a/b",
            "x",
            Code::InvalidArgument,
            "invalid snapshot resource type snapshots/a/b: invalid argument",
        ),
        (
            "l",
            "content",
            "",
            Code::InvalidArgument,
            "invalid content resource id : invalid checksum digest format: invalid argument",
        ),
        (
            "l",
            "ingests/x",
            "x",
            Code::InvalidArgument,
            "invalid resource type ingests/x: invalid argument",
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
        let add = wire::AddResourceRequest { id: id.into(), resource: resource(kind, resource_id) };
        let add = suite.leases().add_resource(suite.on(add)).await;
        suite.refused(&format!("{id} holds {kind}"), add, code, text);
        let delete =
            wire::DeleteResourceRequest { id: id.into(), resource: resource(kind, resource_id) };
        let delete = suite.leases().delete_resource(suite.on(delete)).await;
        suite.refused(&format!("{id} lets go of {kind}"), delete, code, text);
    }
    nameless(suite).await;
    let list = suite.on(wire::ListResourcesRequest { id: "none".into() });
    let list = suite.leases().list_resources(list).await;
    suite.refused("resources of no lease", list, Code::NotFound, "lease \"none\": not found");
}

/// What has no name nothing can hold.
async fn nameless(suite: &mut Suite) {
    for (kind, id, text) in [
        ("ingests", "", "key required"),
        ("snapshots/native", "", "key required"),
        ("snapshots/", "x", "bucket name required"),
    ] {
        let add = wire::AddResourceRequest { id: "l".into(), resource: resource(kind, id) };
        let add = suite.leases().add_resource(suite.on(add)).await;
        suite.refused(&format!("l holds {kind} {id:?}"), add, Code::Unknown, text);
        let delete = wire::DeleteResourceRequest { id: "l".into(), resource: resource(kind, id) };
        let delete = suite.leases().delete_resource(suite.on(delete)).await;
        suite.done(&format!("l lets go of {kind} {id:?}"), delete);
    }
}

async fn held(suite: &Suite, id: &str) -> Result<Vec<(String, String)>, Status> {
    let request = wire::ListResourcesRequest { id: id.to_owned() };
    let answer = suite.leases().list_resources(suite.on(request)).await?;
    let found = answer.into_inner().resources.into_iter();
    Ok(found.map(|resource| (resource.r#type, resource.id)).collect())
}

async fn resources(suite: &mut Suite) -> Result<()> {
    let digest = sha256(b"absent");
    let listed = |all: &[(&str, &str)]| {
        all.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect::<Vec<_>>()
    };
    let all = [("content", digest.as_str()), ("ingests", "r"), ("snapshots/native", "s")];
    for (kind, id) in all.iter().rev().chain(&all) {
        let add = wire::AddResourceRequest { id: "l".into(), resource: resource(kind, id) };
        let added = suite.leases().add_resource(suite.on(add)).await;
        suite.done(&format!("the lease holds {kind}"), added);
    }
    let found = held(suite, "l").await?;
    suite.is("what a lease was told to hold", found, listed(&all));
    for _ in 0..2 {
        let delete =
            wire::DeleteResourceRequest { id: "l".into(), resource: resource("ingests", "r") };
        let deleted = suite.leases().delete_resource(suite.on(delete)).await;
        suite.done("the lease lets go", deleted);
    }
    create(suite, "writer", &[]).await?;
    let part = vec![message(WriteAction::Write, "part", 0, b"part")];
    suite.write(Some("writer"), part).await?.1?;
    let blob = suite.put(Some("writer"), b"leased", &[]).await?;
    let found = held(suite, "writer").await?;
    let kept = listed(&[("content", &blob), ("ingests", "part")]);
    suite.is("what a lease holds by use", found, kept);
    Ok(())
}
