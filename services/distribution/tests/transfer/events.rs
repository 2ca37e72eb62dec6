//! What is told of the blobs that a transfer makes.

use std::collections::BTreeMap;

use berth_proto::berth::node::v1::NodeSubscribeRequest;
use berth_proto::containerd::events::ContentCreate;
use berth_testkit::{Image, Layer, Registry};
use serde_json::{Value, json};

use crate::kit::{Kit, wanted};

/// The media types of the first `count` blobs that were told of, by digest.
async fn told(kit: &Kit, count: usize) -> BTreeMap<String, String> {
    let all = NodeSubscribeRequest { from_start: true, ..Default::default() };
    let mut stream = kit.clients.events.clone().subscribe(all).await.unwrap().into_inner();
    let mut told = BTreeMap::new();
    while told.len() < count {
        let event = stream.message().await.unwrap().unwrap();
        if event.topic == "/content/create" {
            let blob: ContentCreate = berth_proto::unpack(&event.event.unwrap()).unwrap().unwrap();
            told.insert(blob.digest, blob.media_type);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_a_pull_are_told_with_their_media_type() {
    let (hub, layer) = (Registry::start().unwrap(), Layer::noise("file", 1000, 5).unwrap());
    let image = Image::build(vec![layer], json!({})).unwrap();
    let reference = image.push(&hub, "x:1").unwrap();
    let kit = Kit::start().await;
    kit.pull(&reference).await.unwrap();
    let hex = image.digest.strip_prefix("sha256:").unwrap();
    let manifest = fs_err::read(image.layout().join("blobs/sha256").join(hex)).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut expected = BTreeMap::new();
    for listed in [&manifest["config"], &manifest["layers"][0]] {
        let text = |key: &str| listed[key].as_str().unwrap().to_owned();
        expected.insert(text("digest"), text("mediaType"));
    }
    let own = "application/vnd.oci.image.manifest.v1+json";
    expected.insert(image.digest.clone(), own.to_owned());
    assert_eq!(told(&kit, 3).await, expected);

    // Of an archive's files only what is made for it has one, as with containerd: an archive does
    // not say what its files are before it is read to its end.
    let archive = kit.export(&reference).await.unwrap();
    let other = Kit::start().await;
    other.import(&archive, &wanted("y")).await.unwrap();
    for (digest, media_type) in told(&other, 3).await {
        assert_eq!(media_type, "", "{digest}");
    }
}
