//! Snapshots of both snapshotters.

use anyhow::{Context, Result};

use crate::stage::Stage;

/// ctr gives a view neither a label nor a lease, which it gives what it prepares and commits: a view
/// that nothing refers to goes with a collection, one that its parent refers to stays. Leaves `look`
/// on `done`.
fn kept_and_not_kept(stage: &Stage, snapshotter: &str) -> Result<()> {
    let ctr = |line: &str| stage.ctr(&format!("snapshots --snapshotter {snapshotter} {line}"));
    ctr(&format!("label done containerd.io/gc.ref.snapshot.{snapshotter}=look"))?;
    assert!(ctr("view look done")?.is_empty());
    assert!(ctr("view bare done")?.is_empty());
    stage.node.berth("gc").output()?.ok()?;
    let bare = format!("snapshots --snapshotter {snapshotter} info bare");
    assert!(stage.ctr_refused(&bare)?.contains("not found"));
    for key in ["done", "look"] {
        ctr(&format!("info {key}"))?;
    }
    Ok(())
}

#[test]
fn snapshots() -> Result<()> {
    let stage = Stage::pulled()?;
    let list = stage.ctr("snapshots ls")?;
    let base = list.lines().nth(1).and_then(|l| l.split_whitespace().next()).context("no layer")?;
    assert!(stage.ctr(&format!("snapshots info {base}"))?.contains("Committed"));
    let target = stage.node.path("mnt");
    fs_err::create_dir(&target)?;
    stage.ctr(&format!("snapshots prepare work {base}"))?;
    let mounts = stage.ctr(&format!("snapshots mounts {} work", target.display()))?;
    berth_testkit::program("sh").args(["-c", &mounts]).output()?.ok()?;
    fs_err::write(target.join("new"), "file")?;
    let plain = "--media-type application/vnd.oci.image.layer.v1.tar";
    let diff = stage.ctr(&format!("snapshots diff {plain} work"))?;
    assert!(
        diff.contains("new\0") && diff.contains("ustar\0") && diff.contains("file\0"),
        "{diff:?}"
    );
    berth_testkit::program("umount").args([&target]).output()?.ok()?;
    stage.ctr("snapshots commit done work")?;
    let usage = stage.ctr("snapshots usage -b done")?;
    let usage: Vec<_> = usage.lines().nth(1).context("no usage")?.split_whitespace().collect();
    // A directory and a file of less than a block.
    assert_eq!((usage[0], usage[1].parse::<u64>()? >= 4096, usage[2]), ("done", true, "2"));
    kept_and_not_kept(&stage, "overlayfs")?;
    assert!(stage.ctr_refused("snapshots rm done")?.contains("cannot remove snapshot with child"));
    stage.ctr("snapshots rm look")?;
    stage.ctr("snapshots rm done")?;
    assert!(stage.ctr_refused("snapshots info done")?.contains("not found"));
    Ok(())
}

#[test]
fn snapshots_of_the_native_snapshotter() -> Result<()> {
    let stage = Stage::pulled()?;
    let ran = stage.ctr_run("--rm --snapshotter native", "snapshots-native", "echo native");
    assert_eq!(ran.output()?.ok()?, "native\n");
    let native = |line: &str| stage.ctr(&format!("snapshots --snapshotter native {line}"));
    let list = native("ls")?;
    let base = list.lines().nth(1).and_then(|l| l.split_whitespace().next()).context("no layer")?;
    native(&format!("prepare work {base}"))?;
    let mounts = native("mounts /mnt work")?;
    let source = mounts.split_whitespace().nth(3).context("no source")?;
    assert!(mounts.starts_with("mount -t bind"), "{mounts}");
    fs_err::write(format!("{source}/new"), "file")?;
    native("commit done work")?;
    assert!(native("tree")?.contains("done"));
    kept_and_not_kept(&stage, "native")?;
    native("label look kind=test")?;
    assert!(native("info look")?.contains("\"kind\": \"test\""));
    assert!(stage.ctr_refused("snapshots info done")?.contains("not found"), "of overlayfs");
    native("rm look")?;
    native("rm done")?;
    Ok(())
}
