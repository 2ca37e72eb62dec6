//! What a collection leaves: what is referred to, and nothing of what was cut short.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Node, until};

use crate::model::Model;

/// How long what is deleted in the background may take.
const DELETED: Duration = Duration::from_secs(20);

/// Collects, and looks for what should be gone.
pub fn collect(node: &Node, model: &Model) -> Result<()> {
    release(node)?;
    node.berth("gc").output()?.ok()?;
    let listed = node.ctr("content ls -q").output()?.ok()?;
    let listed: BTreeSet<_> = listed.lines().map(|digest| digest.replace(':', "/")).collect();
    let root = node.path("root/distribution");
    let blobs = || files(&root.join("blobs")).is_ok_and(|there| there == listed);
    until("the files of blobs are those that are listed", DELETED, blobs)
        .with_context(|| format!("listed {listed:?}, there {:?}", files(&root.join("blobs"))))?;
    let active = node.ctr("content active").output()?.ok()?;
    ensure!(active.lines().count() <= 1, "ingests are left:\n{active}");
    empty(&root.join("ingest"))?;
    let overlay = node.path("root/bundle/overlayfs");
    for folder in ["staging", "trash"] {
        empty(&overlay.join(folder))?;
    }
    let snapshots = node.ctr("snapshots ls").output()?.ok()?.lines().skip(1).count();
    let folders = || count(&overlay.join("snapshots")) == snapshots;
    until("each snapshot has one folder", DELETED, folders)
        .with_context(|| format!("{snapshots} snapshots, {}", count(&overlay.join("snapshots"))))?;
    let bundles = || names(&node.path("state/runtime/default")) == model.containers();
    until("each task has one folder", DELETED, bundles)
        .with_context(|| format!("{:?}", names(&node.path("state/runtime/default"))))?;
    node.fsck()
}

/// Leases are left by clients that were cut off, to expire in an hour; none is by a transfer.
fn release(node: &Node) -> Result<()> {
    for lease in node.ctr("leases ls -q").output()?.ok()?.lines() {
        ensure!(lease.starts_with("berth-"), "lease {lease} is left");
        node.ctr(&format!("leases rm {lease}")).output()?.ok()?;
    }
    Ok(())
}

/// After everything was removed nothing is there any more.
pub fn nothing(node: &mut Node) -> Result<()> {
    for list in ["images ls -q", "containers ls -q", "tasks ls -q", "content ls -q"] {
        let left = node.ctr(list).output()?.ok()?;
        ensure!(left.is_empty(), "`ctr {list}`:\n{left}");
    }
    let snapshots = node.ctr("snapshots ls").output()?.ok()?;
    ensure!(snapshots.lines().count() <= 1, "snapshots are left:\n{snapshots}");
    ensure!(node.stop()? == Some(0), "berthd did not end well");
    node.shims_end()?;
    ensure!(node.mounts().is_empty(), "mounts are left: {:?}", node.mounts());
    Ok(())
}

/// The blobs' files as `ALGORITHM/HEX`.
fn files(blobs: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for algorithm in fs_err::read_dir(blobs)? {
        let algorithm = algorithm?;
        let folder = algorithm.file_name().to_string_lossy().into_owned();
        found.extend(names(&algorithm.path()).iter().map(|hex| format!("{folder}/{hex}")));
    }
    Ok(found)
}

fn empty(folder: &Path) -> Result<()> {
    until("leftovers are gone", DELETED, || count(folder) == 0)
        .with_context(|| format!("{}: {:?}", folder.display(), names(folder)))
}

fn count(folder: &Path) -> usize {
    names(folder).len()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
