//! `ctr images`, but for archives.

use anyhow::{Context, Result};
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
    let push = "images push --max-concurrent-uploaded-layers 1 --allow-non-distributable-blobs";
    twins.same(&format!("{push} --plain-http {host}/@two:1 {image}"))?;
    let digest = twins.same(&format!("images ls name=={image}"))?;
    let digest = digest.split_whitespace().find(|word| word.starts_with("sha256:"));
    let digest = digest.context("no digest")?;
    let index = "application/vnd.docker.distribution.manifest.list.v2+json";
    let push = format!("images push --plain-http --manifest {digest} --manifest-type {index}");
    // One that the registry has: of others ctr does not say how long they are.
    twins.same(&format!("{push} {host}/@copy:1"))?;
    twins.same(&format!("images pull --plain-http --max-concurrent-downloads 1 {host}/@one:1"))?;
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
    twins.same(&format!(
        "images pull --plain-http --user me:secret {}",
        guarded.reference("multi:1")
    ))?;
    twins.refused(&format!(
        "images pull --plain-http --user me:wrong {}",
        guarded.reference("multi:1")
    ))?;
    twins.refused(&format!("images pull --plain-http {}", guarded.reference("multi:1")))?;
    twins.refused(&format!("images pull --plain-http {}", twins.registry.reference("none:1")))?;

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
    let [ca, cert, key] = [&ca, &cert, &key].map(|path| path.display());
    // By a name: what is on loopback it takes for a registry without TLS.
    let name = tls.reference("multi:1").replace("127.0.0.1", "registry.test");
    let hosts = authority.path("etc-hosts");
    fs_err::write(&hosts, "127.0.0.1 registry.test\n")?;
    let known = format!("mount --bind {} /etc/hosts", hosts.display());
    let pull = format!("images pull --tlscacert {ca} --tlscert {cert} --tlskey {key}");
    twins.same_after(&known, &format!("{pull} {name}"))?;
    let pull = format!("images pull --skip-verify --tlscert {cert} --tlskey {key}");
    twins.same_after(&known, &format!("{pull} {name}"))?;
    let pull = format!("images pull --tlscert {cert} --tlskey {key}");
    twins.refused_after(&known, &format!("{pull} {name}"))?;
    // It is asked for only where there are tokens.
    twins.same(&format!("images pull --plain-http --refresh token {}", twins.image))?;
    let traced = twins
        .each(&format!("images pull --plain-http --http-dump --http-trace {}", twins.image))?;
    for said in [traced.0, traced.1] {
        assert!(said.contains("elapsed"), "{said}");
    }
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
