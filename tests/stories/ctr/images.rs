//! Images and content.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use berth_testkit::{Image, Layer, Node, Registry};

use crate::stage::Stage;

#[test]
fn images() -> Result<()> {
    let stage = Stage::new()?;
    let image = &stage.image;
    stage.ctr(&format!("images pull --plain-http {image}"))?;
    assert_eq!(stage.ctr("images ls -q")?.trim(), image);
    assert!(stage.ctr("images check")?.contains("complete"));
    let copy = image.replace("busybox:1", "copy:2");
    stage.ctr(&format!("images tag {image} {copy}"))?;
    stage.ctr(&format!("images push --plain-http {copy}"))?;
    let digest = |name: &str| {
        let inspect = "inspect --tls-verify=false --format {{.Digest}}".split(' ');
        berth_testkit::program("skopeo")
            .args(inspect)
            .args([format!("docker://{name}")])
            .output()?
            .ok()
    };
    assert_eq!(digest(&copy)?, digest(image)?);
    let tar = stage.node.path("image.tar");
    stage.node.ctr("images export").args([&tar]).args([&copy]).output()?.ok()?;
    stage.ctr(&format!("images rm --sync {image} {copy}"))?;
    assert_eq!(stage.ctr("images ls -q")?.trim(), "");
    assert_eq!(stage.ctr("content ls -q")?.trim(), "");
    stage.node.ctr("images import").args([&tar]).output()?.ok()?;
    assert_eq!(stage.ctr("images ls -q")?.trim(), copy);

    let target = stage.node.path("mnt");
    fs_err::create_dir(&target)?;
    stage.node.ctr("images mount").args([&copy]).args([&target]).output()?.ok()?;
    assert!(target.join("bin/busybox").exists());
    stage.node.ctr("images unmount --rm").args([&target]).output()?.ok()?;
    assert!(!target.join("bin").exists());
    let missing = stage.ctr_refused("images pull --plain-http 127.0.0.1:1/none:1")?;
    assert!(missing.contains("127.0.0.1:1"), "{missing}");
    Ok(())
}

#[test]
fn content() -> Result<()> {
    let stage = Stage::uncollected()?;
    let digests: BTreeSet<String> =
        stage.ctr("content ls -q")?.lines().map(str::to_owned).collect();
    assert_eq!(digests.len(), 3, "manifest, config, layer: {digests:?}");
    let blob = "a blob of our own";
    let digest = "sha256:7d3a9f34d8e0bb2b2cba5a5d4c1fb6cf1f0c44c3d9bfac48db1cb8c1ab1c1ee7";
    let wrong = stage.node.ctr(&format!("content ingest --expected-digest {digest} ref"));
    assert_ne!(wrong.output_with(blob.as_bytes())?.code, 0);
    stage.node.ctr("content ingest mine").output_with(blob.as_bytes())?.ok()?;
    let after: BTreeSet<String> = stage.ctr("content ls -q")?.lines().map(str::to_owned).collect();
    let ours = after.difference(&digests).next().context("the new blob is not listed")?;
    assert_eq!(stage.ctr(&format!("content get {ours}"))?, blob);
    stage.ctr(&format!("content label {ours} kind=test"))?;
    assert!(stage.ctr("content ls")?.contains("kind=test"));
    stage.ctr(&format!("content rm {ours}"))?;
    assert!(stage.ctr_refused(&format!("content get {ours}"))?.contains("not found"));
    stage.ctr(&format!("content fetch --plain-http {}", stage.image))?;
    Ok(())
}

#[test]
fn layers_with_whiteouts_merge() -> Result<()> {
    let registry = Registry::start()?;
    let top = Layer::default()
        .dir("etc")?
        .file("etc/.wh.motd", 0o644, b"")?
        .file("etc/new", 0o600, b"top")?
        .file("opt/deep/file", 0o644, b"x")?;
    let bottom = Layer::busybox()?.file("etc/motd", 0o644, b"gone")?;
    let image = Image::build(vec![bottom, top], serde_json::json!({}))?.push(&registry, "two:1")?;
    let node = Node::start()?;
    node.ctr(&format!("images pull --plain-http {image}")).output()?.ok()?;
    let script = "ls /etc; cat /etc/new /opt/deep/file";
    let seen = node.ctr(&format!("run --rm {image} x sh -c")).args([script]).output()?.ok()?;
    assert_eq!(seen, "group\nnew\npasswd\ntopx");
    Ok(())
}

#[test]
fn images_are_mounted_for_writing_and_by_another_snapshotter() -> Result<()> {
    let stage = Stage::pulled()?;
    let target = stage.node.path("mnt");
    fs_err::create_dir(&target)?;
    for options in ["--rw", "--snapshotter native"] {
        let mount = format!("images mount {options} {} {}", stage.image, target.display());
        stage.ctr(&mount)?;
        assert!(target.join("bin/busybox").exists());
        let written = fs_err::write(target.join("new"), "x");
        assert_eq!(written.is_ok(), options == "--rw", "{options}: {written:?}");
        stage.ctr(&format!("images unmount --rm {}", target.display()))?;
        assert_eq!(fs_err::read_dir(&target)?.count(), 0);
    }
    Ok(())
}

#[test]
fn content_is_fetched_by_ctr_itself() -> Result<()> {
    let stage = Stage::new()?;
    let image = &stage.image;
    let fetched = stage.ctr(&format!("content fetch --plain-http {image}"))?;
    assert!(fetched.contains("done"), "{fetched}");
    assert_eq!(stage.ctr("content ls -q")?.lines().count(), 3);
    assert_eq!(stage.ctr("snapshots ls")?.lines().count(), 1, "nothing was unpacked");
    assert!(stage.ctr("content active")?.starts_with("REF"));
    // A second time nothing has to come.
    stage.ctr(&format!("content fetch --plain-http --all-platforms {image}"))?;
    let manifest = stage.ctr(&format!("images ls name=={image}"))?;
    let digest = manifest.split_whitespace().find(|word| word.starts_with("sha256:"));
    let digest = digest.context("no digest")?;
    stage.ctr(&format!("snapshots unpack {digest}"))?;
    assert!(stage.ctr("snapshots ls")?.contains("Committed"));
    assert_eq!(stage.ctr_run("--rm", "content-fetched", "echo ran").output()?.ok()?, "ran\n");
    Ok(())
}
