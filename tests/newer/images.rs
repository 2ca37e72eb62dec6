//! `ctr images`, but for what transfers.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::twins::Twins;

#[test]
fn pulled_listed_checked_labelled_and_removed() -> Result<()> {
    let twins = Twins::new()?;
    let image = &twins.image;
    twins.same(&format!("images pull --plain-http {image}"))?;
    assert!(twins.same("images ls")?.contains(image.as_str()));
    assert!(twins.same("images check")?.contains("complete"));
    twins.refused("images usage")?;
    twins.same(&format!("images usage --snapshotter overlayfs {image}"))?;
    twins.same(&format!("images label {image} x=y z=1"))?;
    twins.same(&format!("images label {image} z="))?;
    assert!(twins.same("images ls")?.contains("x=y"));
    twins.same(&format!("images inspect {image}"))?;
    // Labels come in no order there.
    let (ours, stock) = twins.each(&format!("images inspect --content {image}"))?;
    let lines = |told: &str| -> BTreeSet<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        told.lines().filter(|line| !line.contains("ated: ")).map(words).collect()
    };
    assert_eq!(lines(&ours), lines(&stock));
    twins.refused("images inspect none")?;
    twins.same("images prune --all")?;
    assert_eq!(twins.same("images ls -q")?, "");
    Ok(())
}

#[test]
fn tagged_here_and_there() -> Result<()> {
    let twins = Twins::pulled()?;
    let image = &twins.image;
    twins.same(&format!("images tag {image} copy:1 copy:2"))?;
    twins.same(&format!("images tag {image} copy:1"))?;
    twins.same(&format!("images tag --skip-reference-check {image} copy:3"))?;
    twins.refused(&format!("images tag --local {image} copy:1"))?;
    twins.same(&format!("images tag --local --force {image} copy:1"))?;
    twins.refused("images tag none copy:4")?;
    twins.refused("images tag --local none copy:4")?;
    twins.same("images ls").map(drop)
}

/// What a pull by the client itself leaves is what a transfer leaves.
#[test]
fn a_transfer_leaves_what_a_pull_of_the_clients_leaves() -> Result<()> {
    let mut left = Vec::new();
    for how in ["", "--local"] {
        let twins = Twins::new()?;
        twins.same(&format!("images pull {how} --plain-http {}", twins.image))?;
        let host = twins.registry.host();
        let blobs = twins.same("content ls")?.replace(&host, "HOST");
        left.push((blobs, twins.same("images ls")?.replace(&host, "HOST")));
    }
    let blobs = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    };
    assert_eq!(blobs(&left[0].0), blobs(&left[1].0));
    assert_eq!(left[0].1, left[1].1);
    Ok(())
}

/// Labels of snapshots that are newer than this containerd: ours are those and more.
#[test]
fn snapshots_have_the_labels_that_they_have_there() -> Result<()> {
    let twins = Twins::pulled()?;
    let listed = twins.same("snapshots --snapshotter overlayfs ls")?;
    let base = listed.split_whitespace().find(|word| word.starts_with("sha256:"));
    let base = base.context("no snapshot")?;
    let (ours, stock) = twins.each(&format!("snapshots --snapshotter overlayfs info {base}"))?;
    let labels = |told: &str| -> Result<Value> {
        let told: Value = serde_json::from_str(told)?;
        Ok(told["Labels"].clone())
    };
    let (ours, stock) = (labels(&ours)?, labels(&stock)?);
    for (label, value) in stock.as_object().context("no labels")? {
        assert_eq!(&ours[label], value, "{label}");
    }
    Ok(())
}
