//! `ctr images export` and `import`.

use anyhow::Result;

use crate::twins::Twins;

/// Both daemons' file of this name is the same, byte for byte.
fn equal(twins: &Twins, name: &str) -> Result<()> {
    let ours = fs_err::read(twins.ours.path(name))?;
    assert!(ours == fs_err::read(twins.stock.path(name))?, "{name} differs");
    Ok(())
}

#[test]
fn exported_and_imported() -> Result<()> {
    let twins = Twins::new()?;
    let image = &twins.image;
    twins.same(&format!("images pull --plain-http --all-platforms {image}"))?;
    twins.same(&format!("images export --all-platforms %all.tar {image}"))?;
    twins.same(&format!("images export --platform linux/arm64 %arm.tar {image}"))?;
    twins.same(&format!(
        "images export --skip-manifest-json --skip-non-distributable %bare.tar {image}"
    ))?;
    for name in ["all.tar", "arm.tar", "bare.tar"] {
        equal(&twins, name)?;
    }
    twins.refused("images export %none.tar none")?;
    twins.same(&format!("images rm --sync {image}"))?;

    twins.same("images import --base-name some/where --digests %all.tar")?;
    twins.same("images ls")?;
    twins.same("images import --no-unpack --index-name index:1 --all-platforms %all.tar")?;
    twins.same("images import --digests --skip-digest-for-named --snapshotter native %bare.tar")?;
    let listed = twins.same("images ls")?;
    assert!(listed.contains("index:1") && listed.contains("some/where@sha256"), "{listed}");
    twins.refused("images import --platform linux/s390x %arm.tar")?;
    twins.refused("images import %nothing.tar").map(drop)
}

#[test]
fn of_dockers_own_form() -> Result<()> {
    let twins = Twins::new()?;
    let folder = twins.ours.path("saved.tar");
    let from = format!("docker://{}", twins.image);
    let to = format!("docker-archive:{}:saved:1", folder.display());
    let copy = ["copy", "--insecure-policy", "-q", "--src-tls-verify=false"];
    berth_testkit::program("skopeo").args(copy).args([&from, &to]).output()?.ok()?;
    fs_err::copy(&folder, twins.stock.path("saved.tar"))?;
    twins.same("images import --compress-blobs %saved.tar")?;
    twins.same("images ls")?;
    twins.same("images import %saved.tar")?;
    let listed = twins.same("images ls -q")?;
    assert_eq!(listed, "docker.io/library/saved:1");
    Ok(())
}
