//! A disk that is full, or that is not to be written to.

use std::path::Path;

use anyhow::Result;
use berth_testkit::{Image, Layer, Node, Registry, program};
use serde_json::json;

use super::refused;

fn mount(options: &str, at: &Path) -> Result<()> {
    let mount = program("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).args([at]);
    mount.output()?.ok().map(|_| ())
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() -> Result<()> {
    let registry = Registry::start()?;
    let small = Image::busybox()?.push(&registry, "small:1")?;
    let large =
        Image::build(vec![Layer::busybox()?, Layer::noise("noise", 16_000_000, 3)?], json!({}))?
            .push(&registry, "large:1")?;
    let node = Node::start_as("", &[], |dir| {
        fs_err::create_dir(dir.join("root"))?;
        mount("size=16m", &dir.join("root"))
    })?;
    node.berth(&format!("pull -q {small}")).output()?.ok()?;
    node.berth(&format!("run -d --name disk-box {small} sleep 600")).output()?.ok()?;

    refused(
        &node,
        &format!("pull -q {large}"),
        1,
        &["large:1", "No space left on device", "make space"],
    )?;
    assert_eq!(node.berth("exec disk-box echo alive").output()?.ok()?, "alive\n");
    node.fsck()?;

    mount("remount,size=96m", &node.path("root"))?;
    node.berth(&format!("pull -q {large}")).output()?.ok()?;
    let count = node.berth(&format!("run --rm {large} wc -c /noise")).output()?.ok()?;
    assert_eq!(count, "16000000 /noise\n");
    node.berth("rm -f disk-box").output()?.ok()?;
    node.fsck()
}

#[test]
fn a_root_that_cannot_be_written_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    fs_err::create_dir(&root)?;
    mount("size=1m,ro", &root)?;
    let out = program(Node::binary("berthd")?)
        .args(["--config", "/dev/null", "--root"])
        .args([&root])
        .args(["--state"])
        .args([dir.path().join("state")])
        .output();
    program("umount").args([&root]).output()?.ok()?;
    let out = out?;
    assert_eq!(out.code, 1, "{out}");
    let named = root.display().to_string();
    for part in [named.as_str(), "Read-only file system"] {
        assert!(out.stderr.contains(part), "{part} is missing: {out}");
    }
    Ok(())
}
