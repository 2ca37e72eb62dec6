//! Indexes and manifest lists: what of them comes here.

use berth_proto::containerd::types::{Platform, transfer as types};
use berth_proto::pack;
use berth_testkit::{Family, Image, Layer, Packing, Recipe, Registry};
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, registry, wanted};

/// An index for three machines, each with a layer of its own; and their layers' sizes.
fn index(family: Family) -> (Image, [usize; 3]) {
    let machines = [("amd64", 1000), ("arm64", 2000), ("s390x", 3000)];
    let images = machines.map(|(architecture, size)| {
        let recipe = Recipe { family, architecture, ..Recipe::default() };
        let layer = Layer::noise("file", size, 1).unwrap();
        Image::build_as(&recipe, vec![layer], json!({})).unwrap()
    });
    let sizes = [0, 1, 2].map(|at: usize| images[at].layer_sizes[0]);
    (Image::index(family, &images).unwrap(), sizes)
}

fn machine(architecture: &str) -> Platform {
    Platform { os: "linux".into(), architecture: architecture.into(), ..Platform::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_comes_what_was_asked_for() {
    let hub = Registry::start().unwrap();
    for (family, name) in [(Family::Oci, "oci:1"), (Family::Docker, "docker:1")] {
        let (index, sizes) = index(family);
        let reference = index.push(&hub, name).unwrap();
        // Machines, metadata of the others, blobs in all, layers here.
        let cases: [(&[&str], bool, usize, &[usize]); 5] = [
            (&["amd64"], false, 4, &[0]),
            (&["arm64", "amd64"], false, 7, &[0, 1]),
            (&[], false, 10, &[0, 1, 2]),
            (&["s390x"], true, 8, &[2]),
            (&["riscv64", "s390x"], false, 4, &[2]),
        ];
        for (machines, all_metadata, blobs, layers) in cases {
            let kit = Kit::start().await;
            let platforms = machines.iter().map(|name| machine(name)).collect();
            let to = types::ImageStore { platforms, all_metadata, ..wanted(&reference) };
            kit.transfer(registry(&reference), pack(&to)).await.unwrap();
            let target = kit.image(&reference).await.unwrap().target.unwrap();
            assert_eq!(target.digest, index.digest, "{family:?} {machines:?}");
            let found = kit.blobs().await;
            assert_eq!(found.len(), blobs, "{family:?} {machines:?}");
            for (at, size) in sizes.iter().enumerate() {
                let here = found.iter().any(|blob| blob.size == *size as i64);
                assert_eq!(here, layers.contains(&at), "{family:?} {machines:?}: layer {at}");
            }
            kit.assert_clean().await;
        }
        let kit = Kit::start().await;
        let to = types::ImageStore { platforms: vec![machine("riscv64")], ..wanted(&reference) };
        let none = kit.transfer(registry(&reference), pack(&to)).await.unwrap_err();
        assert_eq!(none.code(), Code::NotFound, "{none}");
        let words = "no manifest for linux/riscv64, only for linux/amd64, linux/arm64, linux/s390x";
        assert!(none.message().contains(words), "{none}");
        assert_eq!(kit.image(&reference).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_index_is_pushed_whole_and_a_part_of_it_as_its_manifest() {
    let (hub, other) = (Registry::start().unwrap(), Registry::start().unwrap());
    let (index, _) = index(Family::Oci);
    let reference = index.push(&hub, "x:1").unwrap();
    let all = |name: &str| types::ImageStore { name: name.to_owned(), ..Default::default() };
    // The machines and metadata that are pulled, those that are pushed, and whether the index is.
    let amd64 = || vec![machine("amd64")];
    for (name, platforms, all_metadata, pushed, whole) in [
        ("part:1", amd64(), false, vec![], false),
        ("metadata:1", amd64(), true, vec![], false),
        ("chosen:1", vec![], false, amd64(), false),
        ("whole:1", vec![], false, vec![], true),
    ] {
        let kit = Kit::start().await;
        let to = types::ImageStore { platforms, all_metadata, ..wanted(&reference) };
        kit.transfer(registry(&reference), pack(&to)).await.unwrap();
        let from = types::ImageStore { platforms: pushed, ..all(&reference) };
        kit.transfer(pack(&from), registry(&other.reference(name))).await.unwrap();
        let back = Kit::start().await;
        back.pull(&other.reference(name)).await.unwrap();
        let target = back.image(&other.reference(name)).await.unwrap().target.unwrap();
        assert_eq!(target.digest == index.digest, whole, "{name}");
        assert_eq!(back.blobs().await.len(), if whole { 4 } else { 3 }, "{name}");
    }
}

/// With its metadata, an image goes on to another repository of its registry whole, though most of
/// its layers are not here.
#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_not_here_are_mounted() {
    let hub = Registry::start().unwrap();
    let (index, _) = index(Family::Oci);
    let reference = index.push(&hub, "team/x:1").unwrap();
    let kit = Kit::start().await;
    let to = types::ImageStore { all_metadata: true, ..wanted(&reference) };
    kit.transfer(registry(&reference), pack(&to)).await.unwrap();
    assert_eq!(kit.blobs().await.len(), 8);
    let from = types::ImageStore { name: reference.clone(), ..Default::default() };
    let copy = hub.reference("team/y:1");
    let told = kit.transfer(pack(&from), registry(&copy)).await.unwrap();
    let parents: Vec<_> = told.iter().flat_map(|event| event.parents.clone()).collect();
    assert!(parents.contains(&reference) && !parents.contains(&copy), "{parents:?}");
    let back = Kit::start().await;
    let all = types::ImageStore { name: copy.clone(), ..Default::default() };
    back.transfer(registry(&copy), pack(&all)).await.unwrap();
    assert_eq!(back.image(&copy).await.unwrap().target.unwrap().digest, index.digest);
    assert_eq!(back.blobs().await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_manifests_keeps_the_most_wanted() {
    let hub = Registry::start().unwrap();
    let (index, sizes) = index(Family::Docker);
    let reference = index.push(&hub, "x:1").unwrap();
    for (machines, layer) in [(["s390x", "amd64"], sizes[2]), (["amd64", "s390x"], sizes[0])] {
        let kit = Kit::start().await;
        let platforms = machines.map(machine).to_vec();
        let to = types::ImageStore { platforms, manifest_limit: 1, ..wanted(&reference) };
        kit.transfer(registry(&reference), pack(&to)).await.unwrap();
        let blobs = kit.blobs().await;
        assert_eq!(blobs.len(), 4);
        assert!(blobs.iter().any(|blob| blob.size == layer as i64), "{machines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_come_however_they_are_packed_and_keep_their_names() {
    let hub = Registry::start().unwrap();
    let kinds = [
        (Family::Oci, Packing::Gzip, "application/vnd.oci.image.manifest.v1+json"),
        (Family::Oci, Packing::Zstd, "application/vnd.oci.image.manifest.v1+json"),
        (Family::Oci, Packing::Plain, "application/vnd.oci.image.manifest.v1+json"),
        (Family::Docker, Packing::Gzip, "application/vnd.docker.distribution.manifest.v2+json"),
        (Family::Docker, Packing::Plain, "application/vnd.docker.distribution.manifest.v2+json"),
    ];
    for (number, (family, packing, media_type)) in kinds.into_iter().enumerate() {
        let kit = Kit::start().await;
        let recipe = Recipe { family, packing, ..Recipe::default() };
        let layers = vec![Layer::noise("a", 5000, 1).unwrap(), Layer::noise("b", 10, 2).unwrap()];
        let image = Image::build_as(&recipe, layers, json!({})).unwrap();
        let reference = image.push(&hub, &format!("x:{number}")).unwrap();
        kit.pull(&reference).await.unwrap();
        let target = kit.image(&reference).await.unwrap().target.unwrap();
        assert_eq!((target.media_type.as_str(), &target.digest), (media_type, &image.digest));
        let manifest = kit.info(&image.digest).await.unwrap();
        for key in ["config", "l.0", "l.1"] {
            let key = format!("containerd.io/gc.ref.content.{key}");
            assert!(manifest.labels.contains_key(&key), "{family:?} {packing:?}: {key}");
        }
        let mut sizes: Vec<_> = kit.blobs().await.iter().map(|blob| blob.size as usize).collect();
        image.layer_sizes.iter().for_each(|size| assert!(sizes.contains(size)));
        sizes.sort_unstable();
        assert_eq!(sizes.len(), 4);
        kit.assert_clean().await;
    }
}
