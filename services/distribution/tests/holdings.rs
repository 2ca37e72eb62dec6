//! What images a node holds, and how much of each, as the cluster service asks for it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use berth_distribution::registry::media;
use berth_distribution::transfer::platform;
use berth_grpc::{Channel, NODE_MESSAGE, channel};
use berth_proto::berth::node::v1::image_holdings_client::ImageHoldingsClient;
use berth_proto::berth::node::v1::{HeldImage, HeldKey, HoldingsRequest};
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::types::Descriptor;
use serde_json::{Value, json};
use support::{Clients, Dice, NAMESPACE, Served, digest, on};
use tonic::{Code, Status};

/// A client with what it puts there.
struct Kit {
    served: Served,
    clients: Clients,
    holdings: ImageHoldingsClient<Channel>,
}

impl Kit {
    async fn start() -> Self {
        let served = Served::start().await;
        let socket = served.config.socket(berth_config::Service::Distribution);
        let holdings = ImageHoldingsClient::new(channel(&socket));
        let holdings = holdings.max_decoding_message_size(NODE_MESSAGE);
        Self { clients: served.clients(), served, holdings }
    }

    /// Puts a blob there; answers how it is named.
    async fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        match self.clients.put("", bytes, &[]).await {
            Err(status) if status.code() == Code::AlreadyExists => {}
            put => drop(put.unwrap()),
        }
        named(media_type, bytes)
    }

    async fn document(&mut self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes()).await
    }

    async fn image(&mut self, name: &str, target: &Value) {
        let text = |key: &str| target[key].as_str().unwrap().to_owned();
        let target = Descriptor {
            media_type: text("mediaType"),
            digest: text("digest"),
            size: target["size"].as_i64().unwrap(),
            ..Default::default()
        };
        let image = images::Image { name: name.into(), target: Some(target), ..Default::default() };
        let request = images::CreateImageRequest { image: Some(image), ..Default::default() };
        self.clients.images.create(on(NAMESPACE, request)).await.unwrap();
    }

    async fn list(&mut self, request: HoldingsRequest) -> Result<Vec<Vec<HeldImage>>, Status> {
        let mut stream = self.holdings.list(request).await?.into_inner();
        let mut pieces = Vec::new();
        while let Some(piece) = stream.message().await? {
            pieces.push(piece.images);
        }
        Ok(pieces)
    }

    /// What there is of one image.
    async fn held(&mut self, name: &str) -> HeldImage {
        let keys = vec![key(NAMESPACE, name)];
        let found = self.list(HoldingsRequest { keys, ..Default::default() }).await.unwrap();
        let [held] = <[HeldImage; 1]>::try_from(found.concat()).expect("one image");
        assert_eq!(held.key, Some(key(NAMESPACE, name)));
        held
    }

    async fn delete(&mut self, descriptor: &Value) {
        let digest = text(descriptor);
        let request = content::DeleteContentRequest { digest };
        self.clients.content.delete(on(NAMESPACE, request)).await.unwrap();
    }
}

fn key(namespace: &str, name: &str) -> HeldKey {
    HeldKey { namespace: namespace.into(), name: name.into() }
}

fn named(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn text(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

fn size(descriptors: &[&Value]) -> u64 {
    descriptors.iter().map(|descriptor| descriptor["size"].as_u64().unwrap()).sum()
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[tokio::test]
async fn what_is_there_of_an_image_is_told_and_what_is_missing() {
    let mut kit = Kit::start().await;
    let config = kit.blob(media::OCI_CONFIG, b"{}").await;
    let low = kit.blob(LAYER, b"low").await;
    let high = kit.blob(LAYER, b"higher").await;
    // A layer may be in an image twice.
    let manifest = json!({ "config": config, "layers": [low, high, low] });
    let target = kit.document(media::OCI_MANIFEST, &manifest).await;
    kit.image("whole", &target).await;
    let held = kit.held("whole").await;
    assert_eq!((held.digest, held.media_type.as_str()), (text(&target), media::OCI_MANIFEST));
    assert_eq!(held.size, size(&[&target, &config, &low, &high]));
    assert!(held.complete);
    assert_eq!(held.layers, [text(&low), text(&high), text(&low)]);
    assert_eq!(held.missing, [0; 0]);

    kit.delete(&low).await;
    let held = kit.held("whole").await;
    assert_eq!((held.complete, held.missing.as_slice()), (false, &[0, 2][..]));
    assert_eq!(held.size, size(&[&target, &config, &high]));
    assert_eq!(held.layers.len(), 3);

    kit.blob(LAYER, b"low").await;
    kit.delete(&config).await;
    let held = kit.held("whole").await;
    assert_eq!((held.complete, held.missing.len()), (false, 0), "its configuration is missing");

    kit.delete(&target).await;
    let held = kit.held("whole").await;
    assert_eq!((held.complete, held.size, held.layers.len()), (false, 0, 0));
    kit.served.stop().await;
}

#[tokio::test]
async fn of_an_index_the_machine_that_this_is_counts() {
    let mut kit = Kit::start().await;
    let mut index = Vec::new();
    let mut manifests = Vec::new();
    for architecture in ["s390x", &platform::host().architecture] {
        let config = kit.blob(media::OCI_CONFIG, architecture.as_bytes()).await;
        let layer = named(LAYER, format!("layer of {architecture}").as_bytes());
        let manifest = json!({ "config": config, "layers": [layer] });
        let mut entry = kit.document(media::OCI_MANIFEST, &manifest).await;
        manifests.push((entry.clone(), config, layer));
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        index.push(entry);
    }
    let nothing = named(media::OCI_MANIFEST, b"never fetched");
    index.push(nothing);
    let target = kit.document(media::OCI_INDEX, &json!({ "manifests": index })).await;
    kit.image("many", &target).await;
    let [(other, other_config, _), (own, own_config, own_layer)] = &manifests[..] else { panic!() };
    let held = kit.held("many").await;
    let without_layer = size(&[&target, other, other_config, own, own_config]);
    assert_eq!((held.complete, held.size), (false, without_layer));
    assert_eq!((held.layers, held.missing), (vec![text(own_layer)], vec![0]));

    let layer = format!("layer of {}", platform::host().architecture);
    kit.blob(LAYER, layer.as_bytes()).await;
    let held = kit.held("many").await;
    assert_eq!((held.complete, held.size), (true, without_layer + layer.len() as u64));

    kit.delete(own).await;
    let held = kit.held("many").await;
    assert_eq!((held.complete, held.layers.len()), (false, 0));

    let strange = json!({ "manifests": [index[0]] });
    let target = kit.document(media::OCI_INDEX, &strange).await;
    kit.image("strange", &target).await;
    let held = kit.held("strange").await;
    assert_eq!((held.complete, held.layers.len()), (false, 0), "none is for this machine");
    assert_eq!(held.size, size(&[&target, other, other_config]));
    kit.served.stop().await;
}

#[tokio::test]
async fn what_is_asked_for_is_answered_in_pieces() {
    let mut kit = Kit::start().await;
    let config = kit.blob(media::OCI_CONFIG, b"{}").await;
    let target = json!({ "config": config, "layers": [] });
    let target = kit.document(media::OCI_MANIFEST, &target).await;
    for n in 0..205 {
        kit.image(&format!("image-{n:03}"), &target).await;
    }
    let all = kit.list(HoldingsRequest::default()).await.unwrap();
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [200, 5]);
    assert!(all.concat().iter().all(|image| image.complete));
    let own = HoldingsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!(kit.list(own).await.unwrap(), all);
    let other = HoldingsRequest { namespace: "other".into(), ..Default::default() };
    assert_eq!(kit.list(other).await.unwrap().len(), 0);
    let keys = vec![key(NAMESPACE, "image-007"), key(NAMESPACE, "none"), key("other", "image-007")];
    let some = kit.list(HoldingsRequest { keys, ..Default::default() }).await.unwrap().concat();
    let names: Vec<_> = some.iter().map(|image| image.key.clone().unwrap().name).collect();
    assert_eq!(names, ["image-007"]);

    let keys = vec![key(NAMESPACE, "image-007"); 1001];
    let many = HoldingsRequest { keys, ..Default::default() };
    let wrong = HoldingsRequest { namespace: "not a name".into(), ..Default::default() };
    for request in [many, wrong] {
        let refused = kit.list(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    kit.served.stop().await;
}

#[tokio::test]
async fn documents_that_mean_harm_are_bounded() {
    let mut kit = Kit::start().await;
    let config = kit.blob(media::OCI_CONFIG, b"{}").await;
    let layers: Vec<_> = (0..300).map(|n| named(LAYER, format!("{n}").as_bytes())).collect();
    let many = json!({ "config": config, "layers": layers });
    let many = kit.document(media::OCI_MANIFEST, &many).await;
    kit.image("many", &many).await;
    // Deeper than any image, and wide: each index has the one below a hundred times.
    let mut deep = many.clone();
    for _ in 0..8 {
        let below = json!({ "manifests": vec![deep.clone(); 100] });
        deep = kit.document(media::OCI_INDEX, &below).await;
    }
    kit.image("deep", &deep).await;
    let huge = kit.blob(media::OCI_MANIFEST, &vec![b' '; 5 << 20]).await;
    kit.image("huge", &huge).await;
    // A target that is neither, and one that calls itself what it is not.
    let other = kit.blob("application/x-other", b"anything").await;
    kit.image("other", &other).await;
    let mut lying = many.clone();
    lying["mediaType"] = json!(media::OCI_INDEX);
    kit.image("lying", &lying).await;
    for (name, least) in
        [("many", size(&[&many])), ("deep", size(&[&deep])), ("huge", 5 << 20), ("other", 8)]
    {
        let held = kit.held(name).await;
        assert_eq!((held.complete, held.layers.len(), held.missing.len()), (false, 0, 0), "{name}");
        assert!(held.size >= least, "{name}: {}", held.size);
    }
    assert!(!kit.held("lying").await.complete);
    assert_eq!(kit.list(HoldingsRequest::default()).await.unwrap().concat().len(), 5);
    kit.served.stop().await;
}

#[tokio::test]
async fn documents_of_any_bytes_are_answered() {
    let (mut kit, mut dice) = (Kit::start().await, Dice::new(7));
    let blob = named(LAYER, b"x");
    let documents = [
        json!({ "config": blob, "layers": [blob, blob] }).to_string(),
        json!({ "manifests": [blob, blob] }).to_string(),
    ];
    let types = [media::OCI_MANIFEST, media::OCI_INDEX, media::DOCKER_LIST, "x"];
    for round in 0..100 {
        let mut bytes = documents[dice.below(2)].clone().into_bytes();
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len());
            match dice.below(3) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => bytes.insert(at, dice.below(256) as u8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let target = kit.blob(types[dice.below(types.len())], &bytes).await;
        kit.image(&format!("image-{round}"), &target).await;
        let held = kit.held(&format!("image-{round}")).await;
        assert!(held.size >= bytes.len() as u64);
        assert!(!held.complete, "{}", String::from_utf8_lossy(&bytes));
    }
    kit.served.stop().await;
}
