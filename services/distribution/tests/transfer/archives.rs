//! Archives over streams: packed ones, and clients that go away in the middle.

use std::collections::BTreeSet;
use std::io::Write;

use berth_proto::containerd::types::transfer as types;
use berth_proto::pack;
use berth_testkit::{Blob, Image, Layer, Recipe, Registry, program};
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, open, registry, store};

fn prefix(name: &str) -> types::ImageStore {
    let reference = types::ImageReference {
        name: name.into(),
        is_prefix: true,
        allow_overwrite: true,
        ..Default::default()
    };
    types::ImageStore { extra_references: vec![reference], ..Default::default() }
}

/// A pulled image as an archive, and its name.
async fn exported() -> (Image, String, Vec<u8>) {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let layers = vec![Layer::noise("file", 2_000_000, 8).unwrap()];
    let image = Image::build(layers, json!({})).unwrap();
    let reference = image.push(&hub, "x:1").unwrap();
    kit.pull(&reference).await.unwrap();
    let archive = kit.export(&reference).await.unwrap();
    (image, reference, archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_may_be_packed() {
    let (image, reference, archive) = exported().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::bulk::compress(&archive, 1).unwrap()] {
        let kit = Kit::start().await;
        kit.import(&packed, &prefix("h/any")).await.unwrap();
        assert_eq!(kit.image(&reference).await.unwrap().target.unwrap().digest, image.digest);
        kit.assert_clean().await;
        let cut = Kit::start().await;
        let half = cut.import(&packed[..packed.len() / 2], &prefix("h/any")).await.unwrap_err();
        assert_eq!(half.code(), Code::InvalidArgument, "{half}");
        assert!(half.message().contains("read archive"), "{half}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "the client is another process in all but name")]
async fn a_client_that_resets_its_import_leaves_nothing() {
    let (_, reference, archive) = exported().await;
    for share in [0, 1, 2] {
        let kit = Kit::start().await;
        // A client of its own, that can be ended without a word.
        let theirs = tokio::runtime::Runtime::new().unwrap();
        let socket = kit.config.socket(berth_config::Service::Distribution);
        let opening = async move { open(berth_grpc::channel(&socket), "import").await };
        let (send, mut updates) = theirs.spawn(opening).await.unwrap();
        let import = types::ImageImportStream { stream: "import".into(), ..Default::default() };
        let (mut client, request) = kit.silent(pack(&import), pack(&prefix("h/any")));
        let call = kit.tasks.spawn("import", async move { client.transfer(request).await });
        let mut at = 0;
        // As much as the first window allows at most.
        for _ in 0..share * 10 {
            if at == 0 {
                updates.message().await.unwrap().unwrap();
            }
            let data = types::Data { data: archive[at..at + 32768].to_vec().into() };
            send.send(pack(&data)).await.unwrap();
            at += 32768;
        }
        theirs.shutdown_background();
        let ended = call.await.unwrap().unwrap_err();
        assert_eq!(ended.code(), Code::Cancelled, "{ended}");
        assert!(ended.message().contains("read archive"), "{ended}");
        assert_eq!(kit.image(&reference).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_layers_of_an_archive_are_packed_where_that_is_wished() {
    let kit = Kit::start().await;
    let layers = vec![Layer::default().file("zeros", 0o644, &[0; 1_000_000]).unwrap()];
    let image = Image::build(layers, json!({})).unwrap();
    let file = kit.path().join("docker.tar");
    let ends = [
        format!("oci:{}", image.layout().display()),
        format!("docker-archive:{}:r.example/packed:1", file.display()),
    ];
    program("skopeo")
        .args(["copy", "--insecure-policy", "-q"])
        .args(ends)
        .output()
        .unwrap()
        .ok()
        .unwrap();
    let archive = fs_err::read(&file).unwrap();
    kit.import(&archive, &prefix("h/any")).await.unwrap();
    let plain = kit.image("r.example/packed:1").await.unwrap().target.unwrap();
    let layer = |blobs: &[berth_proto::containerd::services::content::v1::Info]| {
        blobs.iter().map(|blob| blob.size).max().unwrap()
    };
    assert!(layer(&kit.blobs().await) > 1_000_000);
    let packed = Kit::start().await;
    let how = types::ImageImportStream { force_compress: true, ..Default::default() };
    packed.import_as(how, &archive, &prefix("h/any")).await.unwrap();
    let target = packed.image("r.example/packed:1").await.unwrap().target.unwrap();
    assert_ne!(target.digest, plain.digest);
    let key = "containerd.io/uncompressed";
    let found = packed.blobs().await;
    let labelled: Vec<_> = found.iter().filter(|blob| blob.labels.contains_key(key)).collect();
    assert_eq!(labelled.len(), 1);
    assert!(labelled[0].size < 100_000, "{labelled:?}");
    let listed = found.iter().find(|blob| blob.digest == target.digest).unwrap();
    assert!(listed.labels.values().any(|value| *value == labelled[0].digest), "{listed:?}");
    packed.assert_clean().await;
    // What is here packed is not kept plain as well, also where nothing is to be packed.
    packed.import(&archive, &prefix("h/any")).await.unwrap();
    let again = packed.image("r.example/packed:1").await.unwrap().target.unwrap();
    assert_eq!(again.digest, target.digest);
    // A registry takes it, and what comes back is the layer.
    let hub = Registry::start().unwrap();
    let reference = hub.reference("packed:1");
    packed.transfer(store("r.example/packed:1"), registry(&reference)).await.unwrap();
    let line = ["copy", "--insecure-policy", "-q", "--src-tls-verify=false"];
    let back = packed.path().join("back");
    let ends = [format!("docker://{reference}"), format!("dir:{}", back.display())];
    program("skopeo").args(line).args(ends).output().unwrap().ok().unwrap();
}

/// The paths of an archive's files.
fn paths(archive: &[u8]) -> BTreeSet<String> {
    let mut archive = tar::Archive::new(archive);
    let path = |entry: tar::Entry<'_, _>| entry.path().unwrap().to_string_lossy().into_owned();
    let all = archive.entries().unwrap().map(|entry| path(entry.unwrap()));
    all.filter(|path| !path.ends_with('/')).collect()
}

/// An image has a layer of its own and one that nobody else may give away; what is left out of an
/// archive is that layer alone, or docker's list alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wished_is_left_out_of_an_archive() {
    for foreign in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
        let recipe = Recipe::default();
        let layer = |seed| Blob::of(Layer::noise("file", 10_000, seed).unwrap(), &recipe).unwrap();
        let (own, theirs) = (layer(1), Blob { media_type: foreign.into(), ..layer(2) });
        let path = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        let (own_path, their_path) = (path(&own.digest()), path(&theirs.digest()));
        let image = Image::of_blobs(&recipe, vec![theirs, own], json!({})).unwrap();
        let reference = image.push(&hub, "x:1").unwrap();
        kit.pull(&reference).await.unwrap();
        let export = async |skip_compatibility_manifest, skip_non_distributable| {
            let how = types::ImageExportStream {
                skip_compatibility_manifest,
                skip_non_distributable,
                ..Default::default()
            };
            kit.export_as(how, &reference).await.unwrap()
        };
        let whole = paths(&export(false, false).await);
        // The layout's two files, docker's list, the manifest, the configuration, the layers.
        assert_eq!(whole.len(), 7, "{foreign}: {whole:?}");
        for path in ["manifest.json", &path(&image.digest), &own_path, &their_path] {
            assert!(whole.contains(path), "{foreign}: no {path} in {whole:?}");
        }
        let without = |path: &str| whole.iter().filter(|own| *own != path).cloned().collect();
        assert_eq!(paths(&export(true, false).await), without("manifest.json"), "{foreign}");
        let partial = export(false, true).await;
        assert_eq!(paths(&partial), without(&their_path), "{foreign}");
        // What may not be given away need not be there to take in the rest.
        let elsewhere = Kit::start().await;
        let to = types::ImageStore { name: reference.clone(), ..Default::default() };
        elsewhere.import(&partial, &to).await.unwrap();
        assert!(elsewhere.export(&reference).await.is_err(), "{foreign}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_nobody_takes_ends() {
    let (_, reference, archive) = exported().await;
    let kit = Kit::start().await;
    kit.import(&archive, &prefix("h/any")).await.unwrap();
    let (window, bytes) = kit.stream("export").await;
    let export = types::ImageExportStream { stream: "export".into(), ..Default::default() };
    let (mut client, request) = kit.silent(store(&reference), pack(&export));
    let call = kit.tasks.spawn("export", async move { client.transfer(request).await });
    window.send(pack(&types::WindowUpdate { update: 1000 })).await.unwrap();
    drop((window, bytes));
    let ended = call.await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Cancelled, "{ended}");
    assert!(ended.message().contains("write archive"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_an_archive_are_named_as_is_wished() {
    let (image, reference, archive) = exported().await;
    let strict = |name: &str, add_digest, skip_named_digest| types::ImageStore {
        extra_references: vec![types::ImageReference {
            name: name.into(),
            is_prefix: true,
            add_digest,
            skip_named_digest,
            ..Default::default()
        }],
        ..Default::default()
    };
    let own = reference.split_once('/').unwrap().0;
    let names = async |to: &types::ImageStore| {
        let kit = Kit::start().await;
        kit.import(&archive, to).await.unwrap();
        let request = crate::support::on(crate::support::NAMESPACE, Default::default());
        let found = kit.clients.images.clone().list(request).await.unwrap().into_inner().images;
        let mut found: Vec<_> = found.into_iter().map(|image| image.name).collect();
        found.sort();
        found
    };
    // An archive of other images is no failure.
    assert_eq!(names(&strict("h/other", false, false)).await, [""; 0]);
    assert_eq!(names(&strict(own, false, false)).await, [reference.as_str()]);
    // The archive's own index, too, gets the name with its digest.
    let image = |name: &str| format!("{name}@{}", image.digest);
    let other = names(&strict("h/other", true, false)).await;
    assert_eq!((other.len(), other.contains(&image("h/other"))), (2, true), "{other:?}");
    let all = names(&strict(own, true, false)).await;
    assert_eq!((all.len(), all.contains(&image(own))), (3, true), "{all:?}");
    let named = names(&strict(own, true, true)).await;
    assert_eq!((named.len(), named.contains(&image(own))), (2, false), "{named:?}");
    assert!(all.contains(&reference) && named.contains(&reference), "{all:?} {named:?}");
    let index = types::ImageStore { name: "h/index:1".into(), ..strict(own, false, false) };
    let both = names(&index).await;
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both.contains(&"h/index:1".to_owned()) && both.contains(&reference), "{both:?}");
}
