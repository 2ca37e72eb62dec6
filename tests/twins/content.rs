//! `ctr content`.

use anyhow::{Context, Result};

use crate::twins::Twins;

const NOTHING: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn blobs() -> Result<()> {
    let twins = Twins::new()?;
    twins.same_reading("content ingest mine", "a blob of our own")?;
    let listed = twins.same("content ls -q")?;
    let blob = listed.lines().next().context("nothing is listed")?;
    assert_eq!(twins.same(&format!("content get {blob}"))?, "a blob of our own");
    let size = "--expected-size 17";
    twins.same_reading(&format!("content ingest {size} --expected-digest {blob} again"), "")?;
    let wrong = "content ingest --expected-size 18 wrong";
    twins.refused_reading(wrong, "a blob of our own")?;
    twins.same(&format!("content label {blob} kind=test more=x"))?;
    twins.same(&format!("content label {blob} more="))?;
    assert!(twins.same("content ls")?.contains("kind=test"));
    assert!(!twins.same("content ls labels.kind!=test")?.contains("sha256"));
    assert!(twins.same("content ls labels.kind==test")?.contains(blob));
    twins.same("content active")?;
    twins.same("content active --timeout 3s --root %none again")?;
    twins.refused(&format!("content label {NOTHING} a=b"))?;
    twins.refused(&format!("content get {NOTHING}"))?;
    twins.refused("content get sha256:00")?;
    twins.refused("content get words")?;
    // It logs what is missing and ends well.
    twins.same(&format!("content rm {NOTHING}"))?;

    let editor = twins.ours.path("editor");
    fs_err::write(&editor, "#!/bin/sh\nprintf %s \"$(sed s/own/neighbour/ $1)\" >$1\n")?;
    berth_testkit::program("chmod").args(["+x"]).args([&editor]).output()?.ok()?;
    let editor = editor.display();
    twins.refused(&format!("content edit --validate --editor {editor} {blob}"))?;
    let edited = twins.same(&format!("content edit --editor {editor} {blob}"))?;
    assert_eq!(twins.same(&format!("content get {}", edited.trim()))?, "a blob of our neighbour");
    twins.same(&format!("content rm {blob} {}", edited.trim()))?;
    assert_eq!(twins.same("content ls -q")?, "");
    Ok(())
}

#[test]
fn objects_of_registries() -> Result<()> {
    let twins = Twins::new()?;
    let image = &twins.image;
    let manifest = twins.same(&format!("content fetch-object --plain-http {image}"))?;
    assert!(manifest.contains("manifest.list"), "{manifest}");
    twins.same(&format!("content fetch --plain-http --metadata-only --all-metadata {image}"))?;
    twins.same("content ls")?;
    twins.same(&format!("content fetch --plain-http --label a=b --all-platforms {image}"))?;
    let listed = twins.same("content ls")?;
    assert!(listed.contains("containerd.io/gc.ref.content.l.0="), "{listed}");
    assert_eq!(twins.same("snapshots ls")?.lines().count(), 1, "nothing was unpacked");
    let words = "content push-object --plain-http";
    let digest = listed.split_whitespace().find(|word| word.starts_with("sha256:"));
    let digest = digest.context("no digest")?;
    let to = twins.registry.reference("@pushed:1");
    twins.same(&format!("{words} {to} {digest} application/octet-stream"))?;
    twins.same("content prune references --dry")?;
    twins.same("content ls -q")?;
    twins.same("content prune references --async")?;
    // What nothing refers to any more goes with a collection, when each has its turn.
    let (ours, stock) = twins.each("content ls")?;
    assert!(!ours.contains("gc.ref.content.l") && !stock.contains("gc.ref.content.l"));
    Ok(())
}
