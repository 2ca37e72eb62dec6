//! What ctr 2 has the daemon do: pulls, pushes, imports and exports.

use std::path::Path;

use anyhow::{Context, Result};
use berth_testkit::{Authority, Registry, program};
use serde_json::Value;

use crate::twins::Twins;

#[test]
fn pulled() -> Result<()> {
    let twins = Twins::new()?;
    let image = &twins.image;
    let pull = |flags: &str| twins.same(&format!("images pull --plain-http {flags} {image}"));
    pull("--platform linux/arm64")?;
    pull("--all-platforms")?;
    // A transfer of ctr 2.1 names a snapshotter without a platform, which its daemon refuses.
    pull("--local --sync-fs --snapshotter native")?;
    pull("--label a=b")?;
    pull("--local --all-metadata --print-chainid")?;
    pull("--local --max-concurrent-downloads 1 --skip-metadata")?;
    assert!(twins.same("images ls")?.contains("linux/amd64,linux/arm64"));
    twins.same("content ls -q")?;
    twins.same("snapshots --snapshotter native ls").map(drop)
}

#[test]
fn pushed() -> Result<()> {
    let twins = Twins::pulled()?;
    let (image, host) = (&twins.image, twins.registry.host());
    twins.same(&format!("images pull --plain-http --all-platforms {image}"))?;
    twins.same(&format!("images push --plain-http {host}/@copy:1 {image}"))?;
    twins.same(&format!("images push --local --plain-http {host}/@two:1 {image}"))?;
    twins.same(&format!("images pull --plain-http {host}/@two:1"))?;
    // Of an index without its other platforms theirs fails, ours is the platform's manifest.
    let one = format!("--plain-http --platform linux/amd64 {host}/@one:1 {image}");
    twins.same(&format!("images push --local {one}"))?;
    twins.refused(&format!("images push --plain-http {host}/@none:1 none")).map(drop)
}

/// What an archive holds, by name: documents as values, since their keys come in another order, and the
/// sizes of what is named by its digest.
fn held(archive: &Path) -> Result<Vec<(String, Value)>> {
    let run = |flags: &str| program("tar").args([flags, "-f"]).args([archive]);
    let mut all = Vec::new();
    for name in run("-t").output()?.ok()?.lines() {
        let told = match name.ends_with(".json") {
            true => serde_json::from_str(&run("-xO").args([name]).output()?.ok()?)?,
            false => run("-tv").args([name]).output()?.ok()?.into(),
        };
        all.push((name.to_owned(), told));
    }
    Ok(all)
}

#[test]
fn exported_and_imported() -> Result<()> {
    let twins = Twins::new()?;
    let image = &twins.image;
    twins.same(&format!("images pull --plain-http --all-platforms {image}"))?;
    for (name, flags) in [
        ("all", "--all-platforms"),
        ("arm", "--platform linux/arm64"),
        ("bare", "--skip-manifest-json"),
        ("local", "--local --all-platforms"),
    ] {
        twins.same(&format!("images export {flags} %{name}.tar {image}"))?;
        let name = format!("{name}.tar");
        let [ours, stock] =
            [twins.ours.path(&name), twins.stock.path(&name)].map(|path| held(&path));
        assert_eq!(ours?, stock?, "{name}");
    }
    twins.refused("images export %none.tar none")?;
    twins.same(&format!("images rm --sync {image}"))?;

    // Since 2.3 the archive's index has a name by its digest, too.
    let listed = twins.each("images import --base-name some/where --digests %all.tar");
    listed.context("import")?;
    for images in twins.each("images ls -q").map(|(ours, stock)| [ours, stock])? {
        assert!(images.contains("some/where@sha256"), "{images}");
    }
    twins.each("images prune --all")?;
    twins.same("images ls")?;
    twins.same("images import --no-unpack --index-name index:1 --all-platforms %all.tar")?;
    twins.same("images import --local --label a=b --sync-fs --snapshotter native %bare.tar")?;
    twins.same("images import --local --discard-unpacked-layers %all.tar")?;
    assert!(twins.same("images ls")?.contains("index:1"));
    twins.refused("images import %nothing.tar").map(drop)
}

/// The words of refusals by registries are ours: they say more.
#[test]
fn from_registries_that_ask_for_something() -> Result<()> {
    let twins = Twins::new()?;
    let open = || Registry::setup().storage_of(&twins.registry);
    let guarded = open().password("me", "secret")?.start()?;
    let name = guarded.reference("multi:1");
    twins.same(&format!("images pull --plain-http --user me:secret {name}"))?;
    let reason = "what was refused is said, and what to do";
    let pull = |flags: &str| format!("images pull --plain-http {flags} {name}");
    twins.differs(&pull("--user me:wrong"), "access refused (401", "401 Unauthorized", reason)?;
    twins.differs(&pull(""), "no basic auth credentials: it wants", "no basic auth", reason)?;
    let missing = format!("images pull --plain-http {}", twins.registry.reference("none:1"));
    twins.refused(&missing).map(drop)
}

/// By a name: what is on loopback is taken for a registry without TLS.
#[test]
fn over_tls() -> Result<()> {
    let twins = Twins::new()?;
    let authority = Authority::new()?;
    authority.issue("server")?;
    let tls = Registry::setup().storage_of(&twins.registry).tls(&authority, false).start()?;
    let name = tls.reference("multi:1").replace("127.0.0.1", "registry.test");
    let hosts = authority.path("etc-hosts");
    fs_err::write(&hosts, "127.0.0.1 registry.test\n")?;
    let known = format!("mount --bind {} /etc/hosts", hosts.display());
    let ca = authority.path("ca.pem").display().to_string();
    twins.same_after(&known, &format!("images pull --local --tlscacert {ca} {name}"))?;
    twins.refused_after(&known, &format!("images pull --local {name}")).map(drop)
}
