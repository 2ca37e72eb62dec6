//! `ctr snapshots`, of both snapshotters.

use anyhow::{Context, Result};

use crate::twins::Twins;

fn snapshots(snapshotter: &str) -> Result<()> {
    let twins = Twins::pulled()?;
    let line = |line: &str| format!("snapshots --snapshotter {snapshotter} {line}");
    let same = |text: &str| twins.same(&line(text));
    let refused = |text: &str| twins.refused(&line(text));
    let index = twins.same(&format!("images ls name=={}", twins.image))?;
    let index = index.split_whitespace().find(|word| word.starts_with("sha256:"));
    let index = index.context("no digest")?;
    twins.same(&format!("snapshots unpack --snapshotter {snapshotter} {index}"))?;
    let listed = same("ls")?;
    let base = listed.split_whitespace().find(|word| word.starts_with("sha256:"));
    let base = base.context("no snapshot")?;
    same(&format!("info {base}"))?;
    same(&format!("usage -b {base}"))?;
    same(&format!("prepare work {base}"))?;
    same("info work")?;
    same("label work a=b c=d")?;
    same("label work c=")?;
    assert!(same("info work")?.contains("\"a\": \"b\""));
    refused(&format!("prepare work {base}"))?;
    refused("prepare other none")?;
    // Packed by two programs, of which only what they pack is the same.
    twins.each(&line("diff work"))?;
    same("diff --media-type application/vnd.oci.image.layer.v1.tar --keep --ref mine work")?;
    same("commit done work")?;
    refused("commit again work")?;
    same("view look done")?;
    refused("view look done")?;
    twins.differs(
        &line("rm done"),
        "snapshot \"done\": cannot remove snapshot with child: failed precondition",
        "\"done\": cannot remove snapshot with child: failed precondition",
        "each error names what it is about",
    )?;
    same("tree")?;
    same("ls")?;
    same("rm look done")?;
    refused("rm done")?;
    refused("info done")?;
    refused("label done a=b")?;
    refused("mounts /mnt done")?;
    refused("usage done")?;
    Ok(())
}

#[test]
fn snapshots_of_overlayfs() -> Result<()> {
    snapshots("overlayfs")
}

#[test]
fn snapshots_of_native() -> Result<()> {
    snapshots("native")
}
