//! `hosts.toml`: mirrors before the registry, and what happens when they fail.

use berth_testkit::{Fault, Image, Layer, On, Proxy, Registry};
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, registry, store};

fn image() -> Image {
    Image::build(vec![Layer::noise("file", 300_000, 3).unwrap()], json!({})).unwrap()
}

/// An address at which nobody answers: a port that was free may be anybody's by then.
const NOBODY: &str = "127.0.0.1:1";

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_for_the_registry() {
    let (hub, image) = (Registry::start().unwrap(), image());
    let mirror = Registry::setup().storage_of(&hub).prefix("/some/where/").start().unwrap();
    image.push(&hub, "a/x:1").unwrap();
    let (front, behind) =
        (Proxy::start(&mirror.host()).unwrap(), Proxy::start(&hub.host()).unwrap());
    let reference = behind.reference("a/x:1");
    let hosts = [
        format!("http://{}/some/where", front.host()),
        format!("http://{}/some/where/v2\"]\noverride_path = true\n#[\"", front.host()),
    ];
    for host in hosts {
        let kit = Kit::start().await;
        let header = "header = { x-test = [\"one\", \"two\"] }";
        let folder = behind.host().replace(':', "_") + "_";
        kit.hosts(&folder, &format!("[host.\"{host}\"]\n{header}\n"));
        let before = front.seen().len();
        kit.pull(&reference).await.unwrap();
        assert_eq!(kit.blobs().await.len(), 3);
        assert_eq!(behind.seen().len(), 0);
        for seen in &front.seen()[before..] {
            assert!(seen.path.starts_with("/some/where/v2/a/x/"), "{}", seen.path);
            assert!(seen.path.contains("?ns=127.0.0.1%3A"), "{}", seen.path);
            assert_eq!(seen.head.to_ascii_lowercase().matches("x-test: ").count(), 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_fails_is_passed_over() {
    let (hub, empty, image) = (Registry::start().unwrap(), Registry::start().unwrap(), image());
    let reference = image.push(&hub, "x:1").unwrap();
    let locked = Registry::start_with_password("me", "secret").unwrap();
    let busy = Proxy::faulty(&hub.host(), On::Manifest, Fault::Busy(503, 0), usize::MAX).unwrap();
    for mirror in [empty.host(), NOBODY.to_owned(), locked.host(), busy.host().to_owned()] {
        let kit = Kit::start().await;
        kit.hosts(&hub.host(), &format!("[host.\"http://{mirror}\"]\n"));
        kit.pull(&reference).await.unwrap_or_else(|status| panic!("{mirror}: {status}"));
        assert_eq!(kit.blobs().await.len(), 3);
        kit.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_does_only_what_it_may() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let (front, behind) = (Proxy::start(&hub.host()).unwrap(), Proxy::start(&hub.host()).unwrap());
    let reference = behind.reference("x:1");
    let kit = Kit::start().await;
    let mirror = format!("[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n", front.host());
    kit.hosts(behind.host(), &mirror);
    kit.pull(&reference).await.unwrap();
    assert_eq!(front.of("HEAD", "").len(), 0);
    assert_eq!(front.of("GET", "/blobs/").len(), 2);
    assert_eq!(behind.of("HEAD", "/manifests/1").len(), 1);
    assert_eq!(behind.of("GET", "").len(), 0);
    kit.transfer(store(&reference), registry(&behind.reference("y:1"))).await.unwrap();
    assert_eq!(front.of("PUT", "").len() + front.of("POST", "").len(), 0);
    kit.hosts(behind.host(), "capabilities = [\"pull\", \"resolve\"]\n");
    let no = kit.transfer(store(&reference), registry(&behind.reference("z:1"))).await.unwrap_err();
    assert_eq!(no.code(), Code::NotFound, "{no}");
    assert!(
        no.message().contains("may push, see its hosts.toml: no push hosts: not found"),
        "{no}"
    );
    // What a digest names is checked: whoever serves it is asked.
    let digested = format!("{}@{}", behind.reference("x"), image.digest);
    kit.hosts(behind.host(), &mirror);
    let before = behind.seen().len();
    kit.pull(&digested).await.unwrap();
    assert_eq!(behind.seen().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_gone_on_with_at_the_next_host() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let (cut, behind) = (
        Proxy::faulty(&hub.host(), On::Download, Fault::Cut, 1).unwrap(),
        Proxy::start(&hub.host()).unwrap(),
    );
    // The mirror cuts the blob once and has it no more afterwards.
    let gone = Proxy::faulty(cut.host(), On::Download, Fault::Busy(404, 0), usize::MAX).unwrap();
    let kit = Kit::start().await;
    kit.hosts(behind.host(), &format!("[host.\"http://{}\"]\n", gone.host()));
    kit.pull(&behind.reference("x:1")).await.unwrap();
    kit.assert_clean().await;
    let layer = kit.blobs().await.into_iter().max_by_key(|blob| blob.size).unwrap();
    let fetched = behind.of("GET", &layer.digest);
    assert_eq!(fetched.len(), 1);
    assert_eq!(fetched[0].sent as i64, layer.size);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_the_file_stands_for_the_registry() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let kit = Kit::start().await;
    kit.hosts("r.example", &format!("server = \"http://{}\"\n", hub.host()));
    kit.pull("r.example/x:1").await.unwrap();
    assert_eq!(kit.image("r.example/x:1").await.unwrap().target.unwrap().digest, image.digest);
    let newer = format!("server = \"http://{}\"\nnewer_than_us = true\n", hub.host());
    kit.hosts("r.example", &newer);
    kit.pull("r.example/x:1").await.unwrap();
    kit.hosts("r.example", "capabilities = [\"fly\"]\n");
    let wrong = kit.pull("r.example/x:1").await.unwrap_err();
    assert_eq!(wrong.code(), Code::FailedPrecondition, "{wrong}");
    assert!(wrong.message().contains("r.example/hosts.toml"), "{wrong}");
}
