//! What ctr 2 asks a daemon about itself, sandboxes, and blobs by their digests.

use anyhow::{Result, ensure};

use crate::twins::Twins;

/// What containerd 2 lists and we don't, and why.
const GONE: [(&str, &str); 7] = [
    ("io.containerd.cri.v1 images", CRI),
    ("io.containerd.cri.v1 runtime", CRI),
    ("io.containerd.internal.v1 opt", "ctr installs into the folder that it is told"),
    ("io.containerd.monitor.task.v1 cgroups", "shims measure, and watch memory"),
    ("io.containerd.nri.v1 nri", CRI),
    ("io.containerd.podsandbox.controller.v1 podsandbox", CRI),
    ("io.containerd.ttrpc.v1 otelttrpc", "what shims tell is traced by who receives it"),
];

const CRI: &str = "comes with the CRI";

#[test]
fn plugins_of_the_same_kinds() -> Result<()> {
    Twins::new()?.plugins_but(&GONE)
}

#[test]
fn runtimes_are_looked_into() -> Result<()> {
    let twins = Twins::new()?;
    for told in twins.each("plugins inspect-runtime").map(|(ours, stock)| [ours, stock])? {
        ensure!(told.contains("io.containerd.runc.v2") && told.contains("mountOptions"), "{told}");
    }
    twins.refused("plugins inspect-runtime --runtime io.containerd.none.v1").map(drop)
}

#[test]
fn deprecations_are_listed() -> Result<()> {
    let twins = Twins::new()?;
    // cgroup v1 is deprecated since 2.2; older ones may have nothing to tell here.
    let (ours, _) = twins.each("deprecations list")?;
    ensure!(ours.split_whitespace().next() == Some("ID"), "{ours}");
    let (ours, _) = twins.each("deprecations list --format json")?;
    let told: serde_json::Value = serde_json::from_str(&ours)?;
    ensure!(told.as_array().is_some_and(|warnings| !warnings.is_empty()), "{ours}");
    Ok(())
}

#[test]
fn blobs_are_fetched_by_their_digests() -> Result<()> {
    let twins = Twins::pulled()?;
    let digest = twins.same(&format!("images ls name=={}", twins.image))?;
    let digest = digest.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap_or("");
    let repository = twins.image.trim_end_matches(":1");
    let fetch = "content fetch-blob --plain-http";
    twins.same(&format!("{fetch} {repository} {digest}"))?;
    twins.refused(&format!("{fetch} {repository} sha256:{}", "0".repeat(64))).map(drop)
}

#[test]
fn sandboxes() -> Result<()> {
    let twins = Twins::pulled()?;
    twins.same("sandboxes ls")?;
    let reason = "what there is none of is named";
    for line in ["sandboxes rm none", "sandboxes rm --force none"] {
        twins.differs(line, "sandbox \\\"none\\\": not found", "no sandbox buckets", reason)?;
    }
    twins.refused("run --sandbox none --rm --runtime io.containerd.none.v1 x y true").map(drop)
}
