//! Images of every kind through a whole node, and how often each of their bytes is moved.

use std::collections::BTreeMap;

use anyhow::Result;
use berth_testkit::{Family, Image, Io, Layer, Node, Packing, Proxy, Recipe, Registry};
use serde_json::json;

#[test]
fn every_kind_of_image_is_pulled_and_run() -> Result<()> {
    let (registry, node) = (Registry::start()?, Node::start()?);
    let kinds = [
        (Family::Oci, Packing::Zstd),
        (Family::Oci, Packing::Plain),
        (Family::Docker, Packing::Gzip),
        (Family::Docker, Packing::Plain),
    ];
    for (number, (family, packing)) in kinds.into_iter().enumerate() {
        let said = format!("{family:?} {packing:?}\n");
        let recipe = Recipe { family, packing, ..Recipe::default() };
        let kind = Layer::default().file("kind", 0o644, said.as_bytes())?;
        let image = Image::build_as(&recipe, vec![Layer::busybox()?, kind], json!({}))?;
        let image = image.push(&registry, &format!("kind:{number}"))?;
        node.berth(&format!("pull {image}")).output()?.ok()?;
        assert_eq!(node.berth(&format!("run --rm {image} cat /kind")).output()?.ok()?, said);
    }
    Ok(())
}

#[test]
fn an_index_gives_each_client_what_it_asks_for() -> Result<()> {
    let (registry, node) = (Registry::start()?, Node::start()?);
    for (family, name) in [(Family::Oci, "oci:1"), (Family::Docker, "docker:1")] {
        let recipe = |architecture| Recipe { family, architecture, ..Recipe::default() };
        let here = Image::build_as(&recipe("amd64"), vec![Layer::busybox()?], json!({}))?;
        let there = vec![Layer::noise("other", 1000, 1)?];
        let there = Image::build_as(&recipe("arm64"), there, json!({}))?;
        let image = Image::index(family, &[there, here])?.push(&registry, name)?;
        node.berth(&format!("pull {image}")).output()?.ok()?;
        assert_eq!(node.berth(&format!("run --rm {image} echo here")).output()?.ok()?, "here\n");
        // The index, and one manifest, configuration and layer.
        assert_eq!(node.ctr("content ls -q").output()?.ok()?.lines().count(), 4);
        node.ctr(&format!("images pull --plain-http --all-platforms {image}")).output()?.ok()?;
        assert_eq!(node.ctr("content ls -q").output()?.ok()?.lines().count(), 7);
        node.ctr(&format!("images rm --sync {image}")).output()?.ok()?;
        assert_eq!(node.ctr("content ls -q").output()?.ok()?, "");
    }
    Ok(())
}

#[test]
fn each_byte_of_a_pull_is_received_once_and_written_once() -> Result<()> {
    let (registry, node) = (Registry::start()?, Node::start()?);
    let plain = 3 * (8 << 20);
    let layers = (1..4).map(|seed| Layer::noise(&format!("file-{seed}"), 8 << 20, seed));
    let image = Image::build(layers.collect::<Result<_>>()?, json!({}))?;
    image.push(&registry, "x:1")?;
    let proxy = Proxy::start(&registry.host())?;
    let name = proxy.reference("x:1");
    let io =
        || -> Result<[Io; 2]> { Ok([node.io("berth-distribution")?, node.io("berth-bundle")?]) };

    let before = io()?;
    node.berth(&format!("pull {name}")).output()?.ok()?;
    let [distribution, bundle] = io()?;

    // From the network: each blob in one request, whole.
    let mut fetched: BTreeMap<String, usize> = BTreeMap::new();
    for seen in proxy.of("GET", "/blobs/") {
        assert_eq!((seen.status, seen.header("range")), (200, None), "{}", seen.path);
        assert!(fetched.insert(seen.path.clone(), seen.sent).is_none(), "{} again", seen.path);
    }
    assert_eq!(fetched.len(), 4);
    let packed: usize = image.layer_sizes.iter().sum();
    let config = fetched.values().min().copied().unwrap_or_default();
    assert_eq!(fetched.values().sum::<usize>(), packed + config);

    // Distribution writes each byte to the blob's file and into bundle's pipe, and reads none of
    // them again; bundle reads the pipe and writes what was packed in it. The rest is the stores'.
    let near = |count: u64, expected: usize| {
        let expected = expected as u64;
        (expected..expected + plain as u64 / 10).contains(&count)
    };
    let (wrote, read) =
        (distribution.written - before[0].written, distribution.read - before[0].read);
    assert!(near(wrote, 2 * packed), "distribution wrote {wrote} for {packed}");
    assert!(near(read, 0), "distribution read {read} for {packed}");
    let (wrote, read) = (bundle.written - before[1].written, bundle.read - before[1].read);
    assert!(near(read, packed), "bundle read {read} for {packed}");
    assert!(near(wrote, plain), "bundle wrote {wrote} for {plain}");

    // What is there is not fetched again, nor read.
    let before = io()?;
    node.berth(&format!("pull {name}")).output()?.ok()?;
    assert_eq!(proxy.of("GET", "/blobs/").len(), 4);
    let [distribution, bundle] = io()?;
    assert!(near(distribution.read - before[0].read, 0) && near(bundle.read - before[1].read, 0));
    Ok(())
}
