//! Layers that are not what they should be.

use anyhow::Result;
use berth_testkit::{Blob, Image, Layer, Node, Recipe, Registry};
use serde_json::json;

use super::refused;

/// A layer that is not what the image says, made from a good one.
fn damaged(damage: impl FnOnce(&mut Blob)) -> Result<Image> {
    let mut blob = Blob::of(Layer::noise("noise", 1 << 20, 7)?, &Recipe::default())?;
    damage(&mut blob);
    Image::of_blobs(&Recipe::default(), vec![blob], json!({}))
}

#[test]
fn damaged_layers_are_refused_and_named() -> Result<()> {
    let registry = Registry::start()?;
    let node = Node::start()?;
    let good = Image::busybox()?.push(&registry, "good:1")?;
    node.berth(&format!("pull -q {good}")).output()?.ok()?;
    let other = format!("sha256:{}", "0".repeat(64));
    let cases = [
        ("truncated", damaged(|blob| blob.bytes.truncate(blob.bytes.len() / 2))?, "layer sha256:"),
        ("no-gzip", damaged(|blob| blob.bytes = b"not a gzip".to_vec())?, "layer sha256:"),
        (
            "no-tar",
            damaged(|blob| {
                blob.bytes = vec![b'x'; 4096];
                "application/vnd.oci.image.layer.v1.tar".clone_into(&mut blob.media_type);
            })?,
            "layer sha256:",
        ),
        ("other-content", damaged(|blob| blob.diff_id = other.clone())?, &other),
        ("other-type", damaged(|blob| blob.media_type = "text/plain".to_owned())?, "text/plain"),
    ];
    for (name, image, named) in cases {
        let image = image.push(&registry, &format!("{name}:1"))?;
        let error = refused(&node, &format!("pull -q {image}"), 1, &[named]);
        error.map_err(|error| error.context(name))?;
    }
    assert_eq!(node.berth(&format!("run --rm {good} echo works")).output()?.ok()?, "works\n");
    Ok(())
}

#[test]
fn bytes_that_do_not_match_their_digest_are_refused() -> Result<()> {
    let registry = Registry::start()?;
    let node = Node::start()?;
    let blob = Blob::of(Layer::busybox()?, &Recipe::default())?;
    let digest = blob.digest();
    let image =
        Image::of_blobs(&Recipe::default(), vec![blob], json!({}))?.push(&registry, "changed:1")?;
    let file = registry.blob(&digest);
    let good = fs_err::read(&file)?;
    let mut bytes = good.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&file, &bytes)?;
    refused(&node, &format!("pull -q {image}"), 1, &[&digest])?;
    fs_err::write(&file, &good)?;
    node.berth(&format!("pull -q {image}")).output()?.ok()?;
    assert_eq!(node.berth(&format!("run --rm {image} echo ran")).output()?.ok()?, "ran\n");
    Ok(())
}
