//! `ctr images`, but for archives.

use anyhow::Result;
use berth_testkit::{Authority, Registry};

use crate::twins::Twins;

#[test]
fn pulled_listed_checked_labelled_and_removed() -> Result<()> {
    let twins = Twins::new()?;
    let image = &twins.image;
    twins.same(&format!("images pull --plain-http --label a=b --print-chainid {image}"))?;
    let listed = twins.same("images ls")?;
    assert!(listed.contains(image.as_str()) && listed.contains("a=b"), "{listed}");
    twins.same(&format!("images ls name=={image}"))?;
    twins.same("images ls name~=nothing")?;
    assert!(twins.same("images check")?.contains("complete"));
    assert_eq!(&twins.same("images check -q")?, image);
    twins.same("images check --snapshotter native")?;
    twins.same(&format!("images label {image} x=y z=1"))?;
    twins.same(&format!("images label {image} z="))?;
    assert!(twins.same("images ls")?.contains("a=b,x=y"));
    twins.same(&format!("images label --replace-all {image} only=one"))?;
    twins.refused("images label none a=b")?;
    twins.same(&format!("images tag {image} copy:1 copy:2"))?;
    twins.refused(&format!("images tag {image} copy:1"))?;
    twins.same(&format!("images tag --force {image} copy:1"))?;
    twins.refused("images tag none other")?;
    twins.same("images rm --sync copy:1 copy:2")?;
    twins.same("images rm none")?;
    twins.same(&format!("images rm --sync {image}"))?;
    assert_eq!(twins.same("images ls -q")?, "");
    assert_eq!(twins.same("content ls -q")?, "");
    Ok(())
}

#[test]
fn of_other_platforms_and_converted() -> Result<()> {
    let twins = Twins::new()?;
    let image = &twins.image;
    twins.same(&format!("images pull --plain-http --platform linux/arm64 {image}"))?;
    twins.same("images ls")?;
    twins.same(&format!("images pull --plain-http --all-platforms {image}"))?;
    assert!(twins.same("images ls")?.contains("linux/amd64,linux/arm64"));
    twins.same(&format!("images pull --plain-http --all-metadata --snapshotter native {image}"))?;
    twins.refused(&format!("images pull --plain-http --platform linux/s390x {image}"))?;
    twins.same(&format!("images convert --oci --all-platforms {image} oci:1"))?;
    twins.same(&format!("images convert --uncompress --platform linux/amd64 {image} plain:1"))?;
    twins.same(&format!("images convert --uncompress --oci {image} plain:2"))?;
    assert!(twins.same("images ls")?.contains("application/vnd.oci.image.index.v1+json"));
    twins.same("images check")?;
    twins.refused("images convert none other")?;
    Ok(())
}

#[test]
fn pushed() -> Result<()> {
    let twins = Twins::pulled()?;
    let (image, host) = (&twins.image, twins.registry.host());
    twins.refused(&format!("images push --plain-http {host}/@copy:1 {image}"))?;
    twins.same(&format!("images pull --plain-http --all-platforms {image}"))?;
    twins.same(&format!("images push --plain-http {host}/@copy:1 {image}"))?;
    twins
        .same(&format!("images push --plain-http --platform linux/amd64 {host}/@one:1 {image}"))?;
    twins.same(&format!("images pull --plain-http {host}/@one:1"))?;
    twins.refused(&format!("images push --plain-http {host}/@none:1 none"))?;
    Ok(())
}

#[test]
fn from_registries_that_ask_for_something() -> Result<()> {
    let twins = Twins::new()?;
    let authority = Authority::new()?;
    authority.issue("server")?;
    authority.issue("client")?;
    let open = || Registry::setup().storage_of(&twins.registry);
    let guarded = open().password("me", "secret")?.start()?;
    let pull = "images pull --plain-http";
    twins.same(&format!("{pull} --user me:secret {}", guarded.reference("multi:1")))?;
    twins.refused(&format!("{pull} --user me:wrong {}", guarded.reference("multi:1")))?;
    twins.refused(&format!("{pull} {}", guarded.reference("multi:1")))?;
    twins.refused(&format!("{pull} {}", twins.registry.reference("none:1")))?;

    let tls = open().tls(&authority, true).start()?;
    let name = tls.reference("multi:1");
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| authority.path(name));
    let hosts = authority.path("hosts");
    fs_err::create_dir_all(hosts.join(tls.host()))?;
    let text = format!(
        "server = \"https://{}\"\n[host.\"https://{}\"]\nca = {ca:?}\nclient = [[{cert:?}, {key:?}]]\n",
        tls.host(),
        tls.host()
    );
    fs_err::write(hosts.join(tls.host()).join("hosts.toml"), text)?;
    twins.same(&format!("images pull --hosts-dir {} {name}", hosts.display()))?;
    Ok(())
}

#[test]
fn mounted() -> Result<()> {
    let twins = Twins::pulled()?;
    for folder in [twins.ours.path("mnt"), twins.stock.path("mnt")] {
        fs_err::create_dir(folder)?;
    }
    for options in ["", "--rw", "--snapshotter native", "--platform linux/amd64"] {
        twins.same(&format!("images mount {options} {} %mnt", twins.image))?;
        for folder in [twins.ours.path("mnt"), twins.stock.path("mnt")] {
            assert!(folder.join("bin/busybox").exists());
        }
        twins.same("images unmount --rm %mnt")?;
    }
    twins.refused("images mount none %mnt").map(drop)
}
