//! Pull, push, tag, import and export against a real registry.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use berth_proto::containerd::types::transfer as types;
use berth_proto::{pack, unpack};
use berth_testkit::{Asked, Image, Layer, Proxy, Registry, TokenServer, program};
use prost_types::Any;
use serde_json::{Value, json};
use tonic::Code;

use types::AuthType::{Credentials, Header, Refresh};

use crate::kit::{Kit, registry, store};
use crate::support::{NAMESPACE, on};

fn image(files: &[usize]) -> Image {
    let layers = files.iter().enumerate().map(|(number, size)| {
        Layer::noise(&format!("file-{number}"), *size, number as u64 + 1).unwrap()
    });
    Image::build(layers.collect(), json!({"Cmd": ["/bin/true"]})).unwrap()
}

fn inspect(reference: &str) -> Value {
    let line = ["inspect", "--tls-verify=false", &format!("docker://{reference}")];
    serde_json::from_str(&program("skopeo").args(line).output().unwrap().ok().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_is_complete_labelled_and_not_fetched_twice() {
    let (kit, hub, image) = (Kit::start().await, Registry::start().unwrap(), image(&[300_000, 10]));
    let reference = image.push(&hub, "a/b:1").unwrap();
    let told = kit.pull(&reference).await.unwrap();
    let target = kit.image(&reference).await.unwrap().target.unwrap();
    assert_eq!(target.digest, image.digest);
    let blobs = kit.blobs().await;
    assert_eq!(blobs.len(), 4);
    kit.assert_clean().await;
    let manifest = kit.info(&image.digest).await.unwrap();
    let keys: Vec<_> = ["config", "l.0", "l.1"]
        .map(|kind| manifest.labels.contains_key(&format!("containerd.io/gc.ref.content.{kind}")))
        .into();
    assert_eq!(keys, [true; 3], "{:?}", manifest.labels);
    let source = "containerd.io/distribution.source.127.0.0.1";
    assert!(blobs.iter().all(|blob| blob.labels.get(source).is_some_and(|repo| repo == "a/b")));
    for blob in &blobs {
        let own = told.iter().filter(|e| e.desc.as_ref().is_some_and(|d| d.digest == blob.digest));
        let own: Vec<_> = own.filter(|event| event.name.contains('-')).collect();
        assert!(own.is_sorted_by_key(|event| event.progress), "{own:#?}");
        let last = own.last().unwrap();
        assert_eq!((last.progress, last.total), (blob.size, blob.size), "{own:#?}");
    }
    let complete: i64 = told.iter().filter(|e| e.event == "complete").map(|e| e.progress).sum();
    assert_eq!(complete, blobs.iter().map(|blob| blob.size).sum::<i64>());
    assert_eq!(
        told.last().unwrap().event,
        format!("Completed pull from OCI Registry ({reference})")
    );
    let told = kit.pull(&reference).await.unwrap();
    assert_eq!(told.iter().filter(|event| event.event == "already exists").count(), 4);
    let mut client = kit.clients.leases.clone();
    let leases = client.list(crate::support::on(
        crate::support::NAMESPACE,
        berth_proto::containerd::services::leases::v1::ListRequest::default(),
    ));
    assert_eq!(leases.await.unwrap().into_inner().leases, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_one_image_at_once_share_their_blobs() {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    image(&[2_000_000, 2_000_000]).push(&hub, "x:1").unwrap();
    let proxy = Proxy::start(&hub.host()).unwrap();
    let reference = proxy.reference("x:1");
    let pulls = ["p0", "p1", "p2"].map(|name| {
        let (kit, reference) = (&kit, &reference);
        async move {
            let (mut client, request) = kit.silent(registry(reference), store(name));
            client.transfer(request).await
        }
    });
    for done in futures::future::join_all(pulls).await {
        done.unwrap();
    }
    assert_eq!(kit.blobs().await.len(), 4);
    assert_eq!(proxy.of("GET", "/blobs/").len(), 3, "a blob was fetched twice");
    kit.assert_clean().await;
}

fn says(kind: types::AuthType, secret: &str) -> types::AuthResponse {
    let secret = secret.to_owned();
    types::AuthResponse { auth_type: kind.into(), secret, ..Default::default() }
}

/// A client that answers every question about a registry alike.
struct Asking {
    id: &'static str,
    reference: String,
    questions: Arc<Mutex<Vec<types::AuthRequest>>>,
    answering: tokio::task::JoinHandle<()>,
}

async fn asking(
    kit: &Kit,
    id: &'static str,
    reference: &str,
    answer: types::AuthResponse,
) -> Asking {
    let (to, mut stream) = kit.stream(id).await;
    let questions = Arc::<Mutex<Vec<types::AuthRequest>>>::default();
    let asked = Arc::clone(&questions);
    let answering = kit.tasks.spawn("answer", async move {
        while let Ok(Some(question)) = stream.message().await {
            asked.lock().unwrap().push(unpack(&question).unwrap().unwrap());
            to.send(pack(&answer)).await.unwrap();
        }
    });
    Asking { id, reference: reference.to_owned(), questions, answering }
}

impl Asking {
    fn registry(&self) -> Any {
        let resolver =
            types::RegistryResolver { auth_stream: self.id.into(), ..Default::default() };
        let reference = self.reference.clone();
        pack(&types::OciRegistry { reference, resolver: Some(resolver) })
    }

    /// Ends it; it was asked, about this host and what was transferred alone.
    fn ends(self, host: &str) {
        self.answering.abort();
        let asked = self.questions.lock().unwrap();
        let fits =
            |asked: &types::AuthRequest| asked.host == host && asked.reference == self.reference;
        assert!(!asked.is_empty() && asked.iter().all(fits), "{host}: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_over_the_auth_stream() {
    let (kit, hub) = (Kit::start().await, Registry::start_with_password("me", "secret").unwrap());
    let reference = image(&[10]).push_with(&hub, "x:1", &["--dest-creds", "me:secret"]).unwrap();
    let refused = kit.pull(&reference).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(refused.message().contains("log in"), "{refused}");
    for (password, code) in [("wrong", Code::Unauthenticated), ("secret", Code::Ok)] {
        let answer = types::AuthResponse { username: "me".into(), ..says(Credentials, password) };
        let asking = asking(&kit, "auth", &reference, answer).await;
        let done = kit.transfer(asking.registry(), store(&reference)).await;
        assert_eq!(done.as_ref().map_or_else(tonic::Status::code, |_| Code::Ok), code, "{done:?}");
        asking.ends(&hub.host());
    }
}

/// A whole header goes to the registry as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_comes_over_the_auth_stream() {
    let (kit, hub) = (Kit::start().await, Registry::start_with_password("me", "secret").unwrap());
    let reference = image(&[10]).push_with(&hub, "x:1", &["--dest-creds", "me:secret"]).unwrap();
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("me:{password}")));
    for (header, code) in [
        (basic("wrong"), Code::Unauthenticated),
        ("two\nlines".to_owned(), Code::Unauthenticated),
        (basic("secret"), Code::Ok),
    ] {
        let asking = asking(&kit, "auth", &reference, says(Header, &header)).await;
        let done = kit.transfer(asking.registry(), store(&reference)).await;
        assert_eq!(done.as_ref().map_or_else(tonic::Status::code, |_| Code::Ok), code, "{done:?}");
        asking.ends(&hub.host());
    }
    kit.assert_clean().await;
}

/// An identity token is exchanged for one of the registry's, by POST; an empty one is none.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_comes_over_the_auth_stream() {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    image(&[10]).push(&hub, "x:1").unwrap();
    let tokens = TokenServer::start("me", "secret", "identity").unwrap();
    let guarded = tokens.guard(&hub).unwrap();
    let (from, to) = (guarded.reference("x:1"), guarded.reference("y/x:1"));
    for (secret, method, code) in [
        ("", "GET", Code::Unauthenticated),
        ("other", "POST", Code::Unauthenticated),
        ("identity", "POST", Code::Ok),
    ] {
        let before = tokens.asked().len();
        // Everybody may pull. Nobody but the token's owner may push.
        let (pulls, pushes) = (
            asking(&kit, "pull", &from, says(Refresh, secret)).await,
            asking(&kit, "push", &to, says(Refresh, secret)).await,
        );
        let known = code == Code::Ok;
        let pulled = kit.transfer(pulls.registry(), store(&from)).await;
        assert_eq!(pulled.is_ok(), known || secret.is_empty(), "{secret:?}: {pulled:?}");
        let pushed = kit.transfer(store(&from), pushes.registry()).await;
        let answered = pushed.as_ref().map_or_else(tonic::Status::code, |_| Code::Ok);
        assert_eq!(answered, code, "{secret:?}: {pushed:?}");
        let asked = tokens.asked().split_off(before);
        let as_told = |asked: &Asked| asked.method == method && asked.known == known;
        assert!(asked.len() >= 2 && asked.iter().all(as_told), "{secret:?}: {asked:?}");
        pulls.ends(&guarded.host());
        pushes.ends(&guarded.host());
    }
    assert_eq!(
        inspect(&hub.reference("y/x:1"))["Digest"],
        inspect(&hub.reference("x:1"))["Digest"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_is_pushed_whole_and_mounted_where_it_can_be() {
    let (kit, hub, image) = (Kit::start().await, Registry::start().unwrap(), image(&[700_000, 20]));
    let from = image.push(&hub, "from:1").unwrap();
    kit.pull(&from).await.unwrap();
    let (other, to) = (Registry::start().unwrap(), hub.reference("to:2"));
    for (to, sent) in [(to.clone(), 0), (other.reference("to:3"), 3), (to, 0)] {
        let told = kit.transfer(store(&from), registry(&to)).await.unwrap();
        assert_eq!(inspect(&to)["Digest"], image.digest);
        let blobs = |e: &&types::Progress| e.event == "complete" && !e.name.starts_with("manifest");
        assert_eq!(told.iter().filter(blobs).count(), sent, "{told:#?}");
    }
    let missing = kit.transfer(store("h/no:1"), registry("h/no:1")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_image_can_be_imported_here_and_by_skopeo() {
    let (kit, hub, image) = (Kit::start().await, Registry::start().unwrap(), image(&[100_000, 5]));
    let reference = image.push(&hub, "x:1").unwrap();
    kit.pull(&reference).await.unwrap();
    let archive = kit.export(&reference).await.unwrap();
    let file = kit.path().join("x.tar");
    fs_err::write(&file, &archive).unwrap();
    let copy = hub.reference("copy:1");
    let from = format!("oci-archive:{}", file.display());
    let line = ["copy", "--insecure-policy", "--dest-tls-verify=false", &from];
    let to = format!("docker://{copy}");
    program("skopeo").args(line).args([to]).output().unwrap().ok().unwrap();
    assert_eq!(inspect(&copy)["Digest"], image.digest);
    let docker = kit.path().join("docker.tar");
    let line = ["copy", "--insecure-policy", "--src-tls-verify=false"];
    let ends =
        [format!("docker://{reference}"), format!("docker-archive:{}:short", docker.display())];
    program("skopeo").args(line).args(ends).output().unwrap().ok().unwrap();
    kit.forget(&reference).await;
    let prefix = |name: &str| types::ImageStore {
        extra_references: vec![types::ImageReference {
            name: name.into(),
            is_prefix: true,
            allow_overwrite: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    kit.import(&archive, &prefix("h/any")).await.unwrap();
    assert_eq!(kit.image(&reference).await.unwrap().target.unwrap().digest, image.digest);
    kit.import(&fs_err::read(&docker).unwrap(), &prefix("h/any")).await.unwrap();
    kit.image("docker.io/library/short:latest").await.unwrap();
    let cut = kit.import(&archive[..archive.len() / 2], &prefix("h/any")).await.unwrap_err();
    assert_eq!(cut.code(), Code::InvalidArgument, "{cut}");
    let wrong = kit.import(&[1; 2048], &prefix("h/any")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument, "{wrong}");
    kit.assert_clean().await;
}

/// What is there already is under the pull's lease before the pull relies on it: a collection may be
/// about to drop it.
#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_are_there_are_held() {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let reference = image(&[10, 20]).push(&hub, "a/b:1").unwrap();
    kit.pull(&reference).await.unwrap();
    let lease = kit.lease("own").await;
    let request = TransferRequest {
        source: Some(registry(&reference)),
        destination: Some(store(&reference)),
        options: None,
    };
    let request = berth_grpc::with_lease(on(NAMESPACE, request), &lease).unwrap();
    TransferClient::new(kit.channel.clone()).transfer(request).await.unwrap();
    let request = leases::ListResourcesRequest { id: lease };
    let held = kit.clients.leases.clone().list_resources(on(NAMESPACE, request)).await.unwrap();
    let mut held: Vec<_> = held.into_inner().resources.into_iter().map(|held| held.id).collect();
    held.retain(|id| *id != reference);
    held.sort();
    let mut blobs: Vec<_> = kit.blobs().await.into_iter().map(|blob| blob.digest).collect();
    blobs.sort();
    assert_eq!(held, blobs);
}
