//! Bytes that are nothing in particular, as objects of a transfer, as archives and as documents: an
//! answer comes each time, and nothing is left behind.

use std::time::Duration;

use berth_proto::containerd::types::transfer as types;
use berth_proto::pack;
use berth_testkit::{Image, Layer, Registry};
use prost_types::Any;
use serde_json::json;

use crate::kit::Kit;
use crate::support::Dice;

const SOON: Duration = Duration::from_secs(30);

/// `bytes` with some of them changed, left out or doubled.
fn spoilt(dice: &mut Dice, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.extend_from_within(at..),
            _ => bytes.insert(at.min(bytes.len()), dice.below(256) as u8),
        }
        bytes.truncate(1 << 20);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_any_bytes_are_answered() {
    let (kit, mut dice) = (Kit::start().await, Dice::new(11));
    let resolver = types::RegistryResolver {
        headers: [("x-own".to_owned(), "1".to_owned())].into(),
        host_dir: "/nowhere".into(),
        default_scheme: "http".into(),
        ..Default::default()
    };
    let remote = types::OciRegistry {
        // No host has a space in its name: nobody is called.
        reference: "no host/x:1".into(),
        resolver: Some(resolver),
    };
    let extra = types::ImageReference { name: "h/x".into(), is_prefix: true, ..Default::default() };
    let images = types::ImageStore {
        extra_references: vec![extra],
        unpacks: vec![types::UnpackConfiguration::default()],
        ..crate::kit::wanted("h/x:1")
    };
    let import = types::ImageImportStream { stream: "none".into(), ..Default::default() };
    let export = types::ImageExportStream { stream: "none".into(), ..Default::default() };
    let objects = [pack(&remote), pack(&images), pack(&import), pack(&export)];
    for round in 0..300 {
        let mut object = || {
            let Any { type_url, value } = objects[dice.below(objects.len())].clone();
            let type_url = match dice.below(10) {
                0 => String::from_utf8_lossy(&spoilt(&mut dice, type_url.as_bytes())).into_owned(),
                _ => type_url,
            };
            Any { type_url, value: spoilt(&mut dice, &value) }
        };
        let (mut client, request) = kit.silent(object(), object());
        let called = tokio::time::timeout(SOON, client.transfer(request)).await;
        assert!(called.unwrap_or_else(|_| panic!("round {round}: no answer")).is_err());
    }
    kit.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_any_bytes_are_answered() {
    let (kit, hub, mut dice) = (Kit::start().await, Registry::start().unwrap(), Dice::new(12));
    let image = Image::build(vec![Layer::noise("file", 2000, 8).unwrap()], json!({})).unwrap();
    let reference = image.push(&hub, "x:1").unwrap();
    kit.pull(&reference).await.unwrap();
    let archive = kit.export(&reference).await.unwrap();
    let prefix = types::ImageReference {
        name: "h/any".into(),
        is_prefix: true,
        allow_overwrite: true,
        add_digest: true,
        ..Default::default()
    };
    let images = types::ImageStore { extra_references: vec![prefix], ..Default::default() };
    for round in 0..60 {
        let bytes = spoilt(&mut dice, &archive);
        // Whatever comes of it: what is changed may be what nobody reads.
        let imported = tokio::time::timeout(SOON, kit.import(&bytes, &images)).await;
        drop(imported.unwrap_or_else(|_| panic!("round {round}: no answer")));
    }
    kit.assert_clean().await;
    kit.pull(&reference).await.unwrap();
}

/// A registry's documents with wrong bytes under right digests.
#[tokio::test(flavor = "multi_thread")]
async fn documents_of_any_bytes_are_answered() {
    let (kit, mut dice) = (Kit::start().await, Dice::new(13));
    let hub = Registry::start().unwrap();
    let image = Image::build(vec![Layer::noise("file", 100, 8).unwrap()], json!({})).unwrap();
    let reference = image.push(&hub, "x:1").unwrap();
    kit.pull(&reference).await.unwrap();
    let manifest = fs_err::read(hub.blob(&image.digest)).unwrap();
    let prefix = types::ImageReference { name: "h/any".into(), ..Default::default() };
    let images = types::ImageStore { extra_references: vec![prefix], ..Default::default() };
    for round in 0..60 {
        let wrong = spoilt(&mut dice, &manifest);
        let digest = crate::support::digest(&wrong);
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": wrong.len(),
        }]});
        let mut tar = tar::Builder::new(Vec::new());
        let name = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
        let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
        let index = if dice.below(3) == 0 {
            spoilt(&mut dice, index.to_string().as_bytes())
        } else {
            index.to_string().into_bytes()
        };
        for (name, bytes) in
            [("oci-layout", layout.as_bytes()), ("index.json", &index), (&name, &wrong)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        let archive = tar.into_inner().unwrap();
        let imported = tokio::time::timeout(SOON, kit.import(&archive, &images)).await;
        drop(imported.unwrap_or_else(|_| panic!("round {round}: no answer")));
    }
    kit.assert_clean().await;
}
