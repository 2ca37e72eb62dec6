//! The service ends at each point of each commit, one after the other: what it acknowledged is
//! there afterwards, what it did not is there whole or not at all. A point that no test reaches
//! fails the test.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use berth_config::{Config, Service};
use berth_lifecycle::{Tasks, child};
use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::namespaces::v1 as namespaces;
use berth_proto::containerd::types::Descriptor;
use berth_testkit::commits_in;
use node::namespaces_client::NamespacesClient;
use support::{Clients, NAMESPACE, digest, on, pairs};
use tonic::Status;

/// The longest that a start or an end may take.
const SOON: Duration = Duration::from_secs(20);

const COMMITS: [&str; 16] = [
    "content.commit",
    "content.delete",
    "content.hold",
    "content.update",
    "gc.sweep",
    "images.create",
    "images.delete",
    "images.update",
    "leases.add",
    "leases.create",
    "leases.delete",
    "leases.remove",
    "namespaces.create",
    "namespaces.delete",
    "namespaces.register",
    "namespaces.update",
];

const ROOT: (&str, &str) = ("containerd.io/gc.root", "1");

/// A folder for the service, and its process while it runs.
struct Node {
    folder: tempfile::TempDir,
    config: Arc<Config>,
    process: Option<tokio::process::Child>,
    neighbours: Tasks,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (config, neighbours) = (support::config(folder.path()), Tasks::new());
        support::neighbours(&config, &neighbours);
        Self { folder, config, process: None, neighbours }
    }

    fn start(&mut self, point: &str, trace: &Path) {
        let root = self.folder.path();
        let mut command = child::command(env!("CARGO_BIN_EXE_berth-distribution"));
        command.arg("--config").arg(root.join("berth.toml"));
        command.arg("--root").arg(root.join("root")).arg("--state").arg(root.join("state"));
        command.args(["--log-level", "error"]).stdin(Stdio::null()).kill_on_drop(true);
        if !point.is_empty() {
            command.env("BERTH_FAILPOINT", format!("{point}:abort"));
            command.env("BERTH_FAILPOINT_TRACE", trace);
        }
        self.process = Some(command.spawn().unwrap());
    }

    /// Has the blobs of the next start kept by what listens on a socket.
    fn keeps_at(&self, socket: &Path) {
        let file = self.folder.path().join("berth.toml");
        let text = fs_err::read_to_string(&file).unwrap();
        let more = format!(
            "[distribution]\ncontent_store = \"there\"\n\
             [proxy_plugins.there]\ntype = \"content\"\naddress = {socket:?}\n"
        );
        fs_err::write(&file, format!("{text}\n{more}")).unwrap();
    }

    fn clients(&self) -> Clients {
        Clients::new(&self.config)
    }

    async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// Waits for the end that a failpoint makes.
    async fn died(&mut self, point: &str) {
        let ended = tokio::time::timeout(SOON, self.process.take().unwrap().wait_with_output());
        let status = ended.await.expect(point).unwrap().status;
        assert!(!status.success(), "{point}: it ended by itself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_of_every_commit() {
    let traces = tempfile::tempdir().unwrap();
    let trace = traces.path().join("trace");
    for commit in COMMITS {
        for (step, kept) in [("before-commit", false), ("after-commit", true)] {
            let point = format!("{commit}.{step}");
            let mut node = Node::new();
            node.start("", &trace);
            prepare(&mut node.clients()).await;
            node.kill().await;
            node.start(&point, &trace);
            let acted = act(&node, commit).await;
            assert!(acted.is_err(), "{point}: it was acknowledged");
            node.died(&point).await;
            node.start("", &trace);
            assert_eq!(happened(&node, commit).await, kept, "{point}");
            untouched(&node, commit).await;
            node.kill().await;
            node.neighbours.drain(Duration::from_secs(5)).await;
        }
    }
    let passed = passed(&trace);
    for commit in COMMITS {
        for step in ["before-commit", "after-commit"] {
            assert!(passed.contains(&format!("{commit}.{step}")), "{commit}.{step} was not passed");
        }
    }
    let apart =
        ["uuid", "content.there", "leases.delete-left", "namespaces.fence", "namespaces.lower"];
    // It only takes its turn among the others.
    let turns = ["gc.pin"];
    // A store has to be damaged for it, as `tests/failpoints` does; one that was not done is found again.
    let repairs = ["check.mend"];
    let tried =
        COMMITS.iter().chain(&apart).chain(&turns).chain(&repairs).map(|name| (*name).to_owned());
    assert_eq!(commits_in_source(), tried.collect());
}

/// The node's uuid is made at the first start whose commit was done, and never again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_uuid_is_made_once() {
    for (point, again) in [("uuid.before-commit", true), ("uuid.after-commit", false)] {
        let mut node = Node::new();
        let (first, second) = (node.folder.path().join("1"), node.folder.path().join("2"));
        node.start(point, &first);
        node.died(point).await;
        assert!(passed(&first).contains(point));
        node.start("none", &second);
        let list = namespaces::ListNamespacesRequest::default();
        node.clients().namespaces.list(list).await.unwrap();
        assert_eq!(passed(&second).contains("uuid.after-commit"), again, "{point}");
        node.kill().await;
        node.neighbours.drain(Duration::from_secs(5)).await;
    }
}

/// A deletion of a namespace that ends around one of its fences' commits can be made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_can_be_deleted_after_each_end_of_a_deletion() {
    for (commit, there) in [("namespaces.fence", true), ("namespaces.lower", false)] {
        for step in ["before-commit", "after-commit"] {
            let (mut node, point) = (Node::new(), format!("{commit}.{step}"));
            let trace = node.folder.path().join("trace");
            node.start(&point, &trace);
            let space = Some(namespaces::Namespace { name: "x".into(), ..Default::default() });
            let create = namespaces::CreateNamespaceRequest { namespace: space };
            node.clients().namespaces.create(create).await.unwrap();
            let delete = namespaces::DeleteNamespaceRequest { name: "x".into() };
            node.clients().namespaces.delete(delete.clone()).await.unwrap_err();
            node.died(&point).await;
            assert!(passed(&trace).contains(&point));
            node.start("", &trace);
            let deleted = node.clients().namespaces.delete(delete).await;
            assert_eq!(deleted.is_ok(), there, "{point}: {deleted:?}");
            node.kill().await;
            node.neighbours.drain(Duration::from_secs(5)).await;
        }
    }
}

/// Leases of transfers end with the next start, or with the one after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_transfers_that_were_cut_off_end() {
    for step in ["before-commit", "after-commit"] {
        let (mut node, point) = (Node::new(), format!("leases.delete-left.{step}"));
        let trace = node.folder.path().join("trace");
        node.start("", &trace);
        for (id, label) in [("cut", "io.berth.transfer"), ("kept", "other")] {
            let labels = pairs(&[(label, id)]);
            let create = leases::CreateRequest { id: id.into(), labels };
            node.clients().leases.create(on(NAMESPACE, create)).await.unwrap();
        }
        node.kill().await;
        node.start(&point, &trace);
        node.died(&point).await;
        assert!(passed(&trace).contains(&point));
        node.start("", &trace);
        let list = on(NAMESPACE, leases::ListRequest::default());
        let left = node.clients().leases.list(list).await.unwrap().into_inner().leases;
        let left: Vec<_> = left.into_iter().map(|lease| lease.id).collect();
        assert_eq!(left, ["kept"], "{point}");
        node.kill().await;
        node.neighbours.drain(Duration::from_secs(5)).await;
    }
}

/// What another process keeps is what records name: what a commit or a deletion that was cut off
/// left there goes with the next start, and can be put there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_kept_elsewhere_is_there_or_goes() {
    // The first of each is the row of what is put, or, if it is there, the end of what is removed.
    for (commit, is_there) in
        [("content.there", false), ("content.commit", false), ("content.there", true)]
    {
        for step in ["before-commit", "after-commit"] {
            let (kept, mut node) = (support::Served::start().await, Node::new());
            let (point, trace) = (format!("{commit}.{step}"), node.folder.path().join("trace"));
            node.keeps_at(&kept.config.socket(Service::Distribution));
            if is_there {
                node.start("", &trace);
                node.clients().put("", b"blob", &[ROOT]).await.unwrap();
                assert!(has(&kept.clients(), "berth").await);
                node.kill().await;
            }
            node.start(&point, &trace);
            let mut clients = node.clients();
            if is_there {
                // It may be answered or not: the end of the removal comes by itself.
                let delete = content::DeleteContentRequest { digest: digest(b"blob") };
                let _ = clients.content.delete(on(NAMESPACE, delete)).await;
            } else {
                clients.put("", b"blob", &[ROOT]).await.unwrap_err();
            }
            node.died(&point).await;
            assert!(passed(&trace).contains(&point), "{point}");
            node.start("", &trace);
            let recorded = has(&node.clients(), NAMESPACE).await;
            assert_eq!(recorded, point == "content.commit.after-commit", "{point}");
            let settled = async {
                while has(&kept.clients(), "berth").await != recorded {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(SOON, settled).await.expect(&point);
            if !recorded {
                node.clients().put("", b"blob", &[ROOT]).await.unwrap();
                assert!(has(&kept.clients(), "berth").await, "{point}");
            }
            node.kill().await;
            node.neighbours.drain(Duration::from_secs(5)).await;
            kept.stop().await;
        }
    }
}

async fn has(clients: &Clients, namespace: &str) -> bool {
    let info = content::InfoRequest { digest: digest(b"blob") };
    clients.content.clone().info(on(namespace, info)).await.is_ok()
}

/// The points in a trace.
fn passed(trace: &Path) -> BTreeSet<String> {
    let text = fs_err::read_to_string(trace).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The names of all commits that the service's source makes.
fn commits_in_source() -> BTreeSet<String> {
    commits_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap()
}

/// What is there before the service ends: two blobs that stay, one that nothing holds, an image,
/// two leases, an empty namespace.
async fn prepare(clients: &mut Clients) {
    for blob in ["old", "gone"] {
        clients.put("", blob.as_bytes(), &[ROOT]).await.unwrap();
    }
    clients.put("", b"loose", &[]).await.unwrap();
    image(clients, "old", &[]).await.unwrap();
    for id in ["l", "drop"] {
        let request = leases::CreateRequest { id: id.into(), ..Default::default() };
        clients.leases.create(on(NAMESPACE, request)).await.unwrap();
    }
    let request = leases::AddResourceRequest { id: "l".into(), resource: Some(resource("held")) };
    clients.leases.add_resource(on(NAMESPACE, request)).await.unwrap();
    create_namespace(clients, "empty").await.unwrap();
}

fn resource(image: &str) -> leases::Resource {
    leases::Resource { id: image.into(), r#type: "images".into() }
}

fn old_image(name: &str, labels: &[(&str, &str)]) -> images::Image {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest: digest(b"old"),
        size: 3,
        ..Default::default()
    };
    let labels = pairs(labels);
    images::Image { name: name.into(), labels, target: Some(target), ..Default::default() }
}

async fn image(clients: &mut Clients, name: &str, labels: &[(&str, &str)]) -> Result<(), Status> {
    let image = Some(old_image(name, labels));
    let request = images::CreateImageRequest { image, ..Default::default() };
    clients.images.create(on(NAMESPACE, request)).await.map(drop)
}

async fn create_namespace(clients: &mut Clients, name: &str) -> Result<(), Status> {
    let namespace = Some(namespaces::Namespace { name: name.into(), ..Default::default() });
    let request = namespaces::CreateNamespaceRequest { namespace };
    clients.namespaces.create(request).await.map(drop)
}

/// The call whose commit is interrupted.
async fn act(node: &Node, commit: &str) -> Result<(), Status> {
    let mut clients = node.clients();
    match commit.split('.').next() {
        Some("content" | "gc") => act_on_content(&mut clients, commit).await,
        Some("images") => act_on_images(&mut clients, commit).await,
        Some("leases") => act_on_leases(&mut clients, commit).await,
        _ => act_on_namespaces(node, &mut clients, commit).await,
    }
}

async fn act_on_content(clients: &mut Clients, commit: &str) -> Result<(), Status> {
    match commit {
        "content.commit" => clients.put("", b"new", &[ROOT]).await.map(drop),
        "content.delete" => {
            let request = content::DeleteContentRequest { digest: digest(b"gone") };
            clients.content.delete(on(NAMESPACE, request)).await.map(drop)
        }
        "content.hold" => clients.put("l", b"old", &[]).await.map(drop),
        "content.update" => {
            let labels = pairs(&[ROOT, ("changed", "yes")]);
            let info = content::Info { digest: digest(b"old"), labels, ..Default::default() };
            let update_mask = Some(prost_types::FieldMask { paths: vec!["labels".into()] });
            let request = content::UpdateRequest { info: Some(info), update_mask };
            clients.content.update(on(NAMESPACE, request)).await.map(drop)
        }
        _ => clients.collection.collect(node::CollectRequest {}).await.map(drop),
    }
}

async fn act_on_images(clients: &mut Clients, commit: &str) -> Result<(), Status> {
    match commit {
        "images.create" => image(clients, "new", &[]).await,
        "images.update" => {
            let image = Some(old_image("old", &[("changed", "yes")]));
            let request = images::UpdateImageRequest { image, ..Default::default() };
            clients.images.update(on(NAMESPACE, request)).await.map(drop)
        }
        _ => {
            let request = images::DeleteImageRequest { name: "old".into(), ..Default::default() };
            clients.images.delete(on(NAMESPACE, request)).await.map(drop)
        }
    }
}

async fn act_on_leases(clients: &mut Clients, commit: &str) -> Result<(), Status> {
    let id = "l".to_owned();
    match commit {
        "leases.create" => {
            let request = leases::CreateRequest { id: "new".into(), ..Default::default() };
            clients.leases.create(on(NAMESPACE, request)).await.map(drop)
        }
        "leases.add" => {
            let request = leases::AddResourceRequest { id, resource: Some(resource("added")) };
            clients.leases.add_resource(on(NAMESPACE, request)).await.map(drop)
        }
        "leases.remove" => {
            let request = leases::DeleteResourceRequest { id, resource: Some(resource("held")) };
            clients.leases.delete_resource(on(NAMESPACE, request)).await.map(drop)
        }
        _ => {
            let request = leases::DeleteRequest { id: "drop".into(), sync: false };
            clients.leases.delete(on(NAMESPACE, request)).await.map(drop)
        }
    }
}

async fn act_on_namespaces(node: &Node, clients: &mut Clients, commit: &str) -> Result<(), Status> {
    match commit {
        "namespaces.create" => create_namespace(clients, "new").await,
        "namespaces.register" => {
            let channel = berth_grpc::channel(&node.config.socket(Service::Distribution));
            let request = node::RegisterNamespaceRequest { namespace: "registered".into() };
            NamespacesClient::new(channel).register(request).await.map(drop)
        }
        "namespaces.update" => {
            let labels = pairs(&[("changed", "yes")]);
            let namespace = Some(namespaces::Namespace { name: "empty".into(), labels });
            let request = namespaces::UpdateNamespaceRequest { namespace, update_mask: None };
            clients.namespaces.update(request).await.map(drop)
        }
        _ => {
            let request = namespaces::DeleteNamespaceRequest { name: "empty".into() };
            clients.namespaces.delete(request).await.map(drop)
        }
    }
}

/// Whether the change is in the store.
async fn happened(node: &Node, commit: &str) -> bool {
    let mut clients = node.clients();
    let clients = &mut clients;
    match commit {
        "content.commit" => blob(clients, b"new").await.is_some(),
        "content.delete" => blob(clients, b"gone").await.is_none(),
        "content.hold" => resources(clients).await.contains(&digest(b"old")),
        "content.update" => blob(clients, b"old").await.unwrap().labels.contains_key("changed"),
        "gc.sweep" => blob(clients, b"loose").await.is_none(),
        "images.create" => has_image(clients, |image| image.name == "new").await,
        "images.update" => has_image(clients, |image| image.labels.contains_key("changed")).await,
        "images.delete" => !has_image(clients, |image| image.name == "old").await,
        "leases.add" => resources(clients).await.contains("added"),
        "leases.remove" => !resources(clients).await.contains("held"),
        "leases.create" => has_lease(clients, "new").await,
        "leases.delete" => !has_lease(clients, "drop").await,
        "namespaces.create" => spaces(clients).await.contains("new"),
        "namespaces.register" => spaces(clients).await.contains("registered"),
        "namespaces.update" => spaces(clients).await.contains("empty changed"),
        _ => !spaces(clients).await.iter().any(|name| name.starts_with("empty")),
    }
}

/// What the interrupted call does not concern is as it was.
async fn untouched(node: &Node, commit: &str) {
    let mut clients = node.clients();
    assert!(blob(&mut clients, b"old").await.is_some(), "{commit}");
    assert!(has_lease(&mut clients, "l").await, "{commit}");
    let blobs = node.folder.path().join("root/distribution/blobs/sha256");
    let mut recorded = 0;
    for bytes in [&b"old"[..], b"gone", b"loose", b"new"] {
        recorded += usize::from(blob(&mut clients, bytes).await.is_some());
    }
    // A start deletes what no record names behind its first answers.
    let agree = async {
        while fs_err::read_dir(&blobs).unwrap().count() != recorded {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let agreed = tokio::time::timeout(Duration::from_secs(20), agree).await;
    assert!(agreed.is_ok(), "{commit}: {recorded} records of blobs, and not as many files");
}

async fn blob(clients: &mut Clients, bytes: &[u8]) -> Option<content::Info> {
    let request = content::InfoRequest { digest: digest(bytes) };
    let answer = clients.content.info(on(NAMESPACE, request)).await;
    match answer {
        Ok(answer) => answer.into_inner().info,
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::NotFound, "{status}");
            None
        }
    }
}

async fn has_image(clients: &mut Clients, is: impl Fn(&images::Image) -> bool) -> bool {
    let request = images::ListImagesRequest::default();
    let found = clients.images.list(on(NAMESPACE, request)).await.unwrap().into_inner();
    found.images.iter().any(is)
}

async fn has_lease(clients: &mut Clients, id: &str) -> bool {
    let request = leases::ListRequest::default();
    let found = clients.leases.list(on(NAMESPACE, request)).await.unwrap().into_inner();
    found.leases.iter().any(|lease| lease.id == id)
}

/// The names of what the lease holds.
async fn resources(clients: &mut Clients) -> BTreeSet<String> {
    let request = leases::ListResourcesRequest { id: "l".into() };
    let found = clients.leases.list_resources(on(NAMESPACE, request)).await.unwrap();
    found.into_inner().resources.into_iter().map(|resource| resource.id).collect()
}

/// The namespaces; with ` changed` after those that were.
async fn spaces(clients: &mut Clients) -> BTreeSet<String> {
    let request = namespaces::ListNamespacesRequest::default();
    let found = clients.namespaces.list(request).await.unwrap().into_inner().namespaces;
    let named = |space: namespaces::Namespace| match space.labels.contains_key("changed") {
        true => format!("{} changed", space.name),
        false => space.name,
    };
    found.into_iter().map(named).collect()
}
