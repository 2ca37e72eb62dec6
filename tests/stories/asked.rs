//! Filters, masks and references of objects that ctr has no words for, over gRPC on a whole node.

use anyhow::{Context, Result};
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::mounts::v1 as mounts;
use berth_proto::containerd::services::namespaces::v1 as namespaces;
use berth_proto::containerd::services::sandbox::v1 as sandbox;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_proto::containerd::types::{Descriptor, Mount, Sandbox};
use berth_testkit::Node;
use containers::containers_client::ContainersClient;
use images::images_client::ImagesClient;
use leases::leases_client::LeasesClient;
use mounts::mounts_client::MountsClient;
use namespaces::namespaces_client::NamespacesClient;
use prost_types::FieldMask;
use sandbox::store_client::StoreClient;
use snapshots::snapshots_client::SnapshotsClient;
use tonic::{Code, Request, Status};

const NAMESPACE: &str = "asked";

fn on<T>(message: T) -> Result<Request<T>> {
    Ok(with_namespace(message, &NAMESPACE.parse()?))
}

fn block_on<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test)
}

fn labels(pairs: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn told<T>(answer: Result<T, Status>) -> (Code, String) {
    match answer {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

async fn container(channel: &Channel, id: &str, label: (&str, &str)) -> Result<()> {
    let runtime =
        containers::container::Runtime { name: "io.containerd.runc.v2".into(), options: None };
    let container = containers::Container {
        id: id.into(),
        runtime: Some(runtime),
        spec: Some(prost_types::Any::default()),
        labels: labels(&[label]),
        ..Default::default()
    };
    let request = containers::CreateContainerRequest { container: Some(container) };
    ContainersClient::new(channel.clone()).create(on(request)?).await?;
    Ok(())
}

async fn forget(channel: &Channel, id: &str) -> Result<()> {
    let request = containers::DeleteContainerRequest { id: id.into() };
    ContainersClient::new(channel.clone()).delete(on(request)?).await?;
    Ok(())
}

async fn sandboxes(channel: &Channel, filter: &str) -> Result<Vec<String>> {
    let request = sandbox::StoreListRequest { filters: vec![filter.to_owned()] };
    let found = StoreClient::new(channel.clone()).list(on(request)?).await?.into_inner().list;
    Ok(found.into_iter().map(|sandbox| sandbox.sandbox_id).collect())
}

#[test]
fn sandboxes_and_snapshots_are_found_and_refused_as_containerd_does() -> Result<()> {
    let node = Node::start()?;
    block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let mut store = StoreClient::new(channel.clone());
        let record = |id: &str| Sandbox {
            sandbox_id: id.into(),
            labels: labels(&[("own", id)]),
            ..Default::default()
        };
        for id in ["asked-a", "asked-b"] {
            let request = sandbox::StoreCreateRequest { sandbox: Some(record(id)) };
            store.create(on(request)?).await?;
        }
        for (filter, ids) in [
            ("id==asked-a", &["asked-a"][..]),
            ("id.more==asked-a", &["asked-a"]),
            ("id!=asked-a", &["asked-b"]),
            ("id~=/^asked-/", &["asked-a", "asked-b"]),
            ("labels.own==asked-b", &["asked-b"]),
            ("name==asked-a", &[]),
        ] {
            assert_eq!(sandboxes(&channel, filter).await?, ids, "{filter}");
        }
        let fields = vec!["created_at".to_owned()];
        let request = sandbox::StoreUpdateRequest { sandbox: Some(record("asked-a")), fields };
        let words = "cannot update \"created_at\" field on sandbox \"asked-a\"";
        let (code, said) = told(store.update(on(request)?).await);
        assert_eq!(code, Code::InvalidArgument);
        assert!(said.starts_with(words), "{said}");

        let mut client = SnapshotsClient::new(channel.clone());
        let request = snapshots::PrepareSnapshotRequest {
            snapshotter: "native".into(),
            key: "k".into(),
            labels: labels(&[("containerd.io/gc.root", "1")]),
            ..Default::default()
        };
        client.prepare(on(request)?).await?;
        let mut update = async |name: &str, path: &str, value: &str| -> Result<(Code, String)> {
            let info = snapshots::Info {
                name: name.into(),
                labels: labels(&[("x", value)]),
                ..Default::default()
            };
            let request = snapshots::UpdateSnapshotRequest {
                snapshotter: "native".into(),
                info: Some(info),
                update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
            };
            Ok(told(client.update(on(request)?).await))
        };
        let (code, said) = update("k", "parent", "1").await?;
        assert_eq!(code, Code::InvalidArgument);
        assert!(said.starts_with("cannot update \"parent\" field on snapshot \"k\""), "{said}");
        assert_eq!(update("none", "parent", "1").await?.0, Code::NotFound);
        assert_eq!(update("", "labels", "1").await?.0, Code::InvalidArgument);
        let (code, said) = update("k", "labels", &"v".repeat(4096)).await?;
        assert_eq!(code, Code::InvalidArgument);
        assert!(said.starts_with("info.Labels: label key and value"), "{said}");
        assert_eq!(update("k", "labels.x", "1").await?.0, Code::Ok);

        let request = namespaces::DeleteNamespaceRequest { name: NAMESPACE.into() };
        let deleted = NamespacesClient::new(channel.clone()).delete(request).await;
        let (code, said) = told(deleted);
        assert_eq!(code, Code::FailedPrecondition);
        assert!(said.contains(&format!("namespace {NAMESPACE:?} must be empty")), "{said}");
        assert!(said.contains("snapshots on \"native\" snapshotter"), "{said}");
        Ok(())
    })
}

async fn activated(channel: &Channel, filters: &[&str]) -> Result<Vec<String>> {
    let filters = filters.iter().map(ToString::to_string).collect();
    let request = mounts::ListRequest { filters };
    let mut list = MountsClient::new(channel.clone()).list(on(request)?).await?.into_inner();
    let mut names = Vec::new();
    while let Some(message) = list.message().await? {
        names.push(message.info.context("no info")?.name);
    }
    Ok(names)
}

#[test]
fn labels_keep_images_that_expire_and_mounts() -> Result<()> {
    let node = Node::start()?;
    let folder = node.path("source");
    fs_err::create_dir(&folder)?;
    block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let digest = format!("sha256:{}", "a".repeat(64));
        let target = Descriptor { media_type: "x/y".into(), digest, size: 1, ..Default::default() };
        let image = |name: &str| images::Image {
            name: name.into(),
            labels: labels(&[("containerd.io/gc.expire", "2020-01-01T00:00:00Z")]),
            target: Some(target.clone()),
            ..Default::default()
        };
        container(&channel, "asked-image", ("containerd.io/gc.ref.image", "kept")).await?;
        container(&channel, "asked-mount", ("containerd.io/gc.ref.mount", "kept")).await?;
        let mut leases = LeasesClient::new(channel.clone());
        let lease = leases::CreateRequest { id: "asked".into(), ..Default::default() };
        leases.create(on(lease)?).await?;
        let mut client = ImagesClient::new(channel.clone());
        for name in ["kept", "let-go"] {
            let request =
                images::CreateImageRequest { image: Some(image(name)), ..Default::default() };
            client.create(on(request)?).await?;
            let source = folder.display().to_string();
            let options = vec!["rbind".into(), "ro".into()];
            let mount = Mount { r#type: "bind".into(), source, target: String::new(), options };
            let request = mounts::ActivateRequest {
                name: name.into(),
                mounts: vec![mount],
                labels: labels(&[("own", name)]),
                temporary: true,
            };
            let request = with_lease(on(request)?, "asked")?;
            MountsClient::new(channel.clone()).activate(request).await?;
        }
        for (filters, names) in [
            (&[][..], &["kept", "let-go"][..]),
            (&["name==kept"], &["kept"]),
            (&["name.more==kept"], &["kept"]),
            (&["labels.own~=/^let/"], &["let-go"]),
            (&["labels.own==x", "name==let-go"], &["let-go"]),
            (&["labels.other"], &[]),
        ] {
            assert_eq!(activated(&channel, filters).await?, names, "{filters:?}");
        }
        let wrong = MountsClient::new(channel.clone())
            .list(on(mounts::ListRequest { filters: vec!["name=".into()] })?)
            .await;
        assert_eq!(told(wrong).0, Code::InvalidArgument);

        let request = leases::DeleteRequest { id: "asked".into(), sync: true };
        leases.delete(on(request)?).await?;
        let mut names = async || -> Result<Vec<String>> {
            let found = client.list(on(images::ListImagesRequest::default())?).await?;
            Ok(found.into_inner().images.into_iter().map(|image| image.name).collect())
        };
        assert_eq!(
            (names().await?, activated(&channel, &[]).await?),
            (vec!["kept".into()], vec!["kept".into()])
        );
        for id in ["asked-image", "asked-mount"] {
            forget(&channel, id).await?;
        }
        node.berth("gc").output()?.ok()?;
        assert_eq!((names().await?, activated(&channel, &[]).await?), (vec![], vec![]));
        assert_eq!(node.mounts(), Vec::<String>::new());
        Ok(())
    })
}
