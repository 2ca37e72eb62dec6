//! `ctr snapshots`, of both snapshotters.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::twins::Twins;

/// The type and the options of the mounts that ctr prints as JSON, without their folders.
fn of_mount(printed: &str) -> Result<Vec<String>> {
    let mounts: Vec<serde_json::Value> = serde_json::from_str(printed)?;
    let told = |mount: &serde_json::Value| {
        let options = mount["Options"].as_array().cloned().unwrap_or_default();
        let options = options.iter().filter_map(|option| option.as_str()?.split('=').next());
        format!("{} {:?}", mount["Type"], options.collect::<BTreeSet<_>>())
    };
    Ok(mounts.iter().map(told).collect())
}

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
    // Where they lie is each daemon's own.
    let shown = |(ours, stock): (String, String)| [ours, stock].map(|said| said.contains("/mnt"));
    for at in ["prepare --target /mnt", "view --target /mnt"] {
        assert_eq!(shown(twins.each(&line(&format!("{at} at {base}")))?), [true, true]);
        same("rm at")?;
    }
    for told in ["prepare --mounts", "view --mounts"] {
        let (ours, stock) = twins.each(&line(&format!("{told} told {base}")))?;
        assert_eq!(of_mount(&ours)?, of_mount(&stock)?);
        same("rm told")?;
    }
    same("info work")?;
    same("label work a=b c=d")?;
    same("label work c=")?;
    assert!(same("info work")?.contains("\"a\": \"b\""));
    refused(&format!("prepare work {base}"))?;
    refused("prepare other none")?;
    // Packed by two programs, of which only what they pack is the same.
    twins.each(&line("diff work"))?;
    same(
        "diff --label x=y --media-type application/vnd.oci.image.layer.v1.tar --keep --ref mine work",
    )?;
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
