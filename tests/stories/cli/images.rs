//! Images: what pulls and pushes say and do, tags, removals.

use anyhow::Result;
use berth_testkit::{Family, Image, Layer, Node, Recipe, Registry, program};
use serde_json::json;

use crate::stage::Stage;

#[test]
fn progress_is_lines_when_standard_error_is_no_terminal() -> Result<()> {
    let stage = Stage::new()?;
    let pull = stage.node.berth(&format!("pull {}", stage.image)).output()?;
    assert_eq!(pull.code, 0, "{pull}");
    for part in ["manifest ", "config ", "layer ", ": complete (", ": extracted ("] {
        assert!(pull.stderr.contains(part), "{part} is missing: {pull}");
    }
    assert!(!pull.stderr.contains('\u{1b}') && !pull.stderr.contains('\r'), "{pull}");
    assert!(pull.stdout.contains(&stage.image), "{pull}");
    let copy = stage.registry.reference("copy:1");
    stage.berth(&format!("tag {} {copy}", stage.image))?;
    let push = stage.node.berth(&format!("push {copy}")).output()?;
    assert_eq!(push.code, 0, "{push}");
    assert!(push.stderr.contains("layer ") && !push.stderr.contains('\u{1b}'), "{push}");
    let quiet = stage.node.berth(&format!("pull -q {copy}")).output()?;
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""), "{quiet}");
    Ok(())
}

/// The digest that the registry has under a name.
fn at_registry(name: &str) -> Result<String> {
    let seen = program("skopeo")
        .args(["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")])
        .output()?;
    let manifest = seen.ok()?;
    let digest = program("sha256sum").output_with(manifest.as_bytes())?.ok()?;
    Ok(format!("sha256:{}", digest.split(' ').next().unwrap_or_default()))
}

/// An image that prints this, in the registry; its name and digest.
fn saying(stage: &Stage, text: &str) -> Result<(String, String)> {
    let file = Layer::default().file("said", 0o644, text.as_bytes())?;
    let config = json!({"Cmd": ["cat", "/said"]});
    let image = Image::build(vec![Layer::busybox()?, file], config)?;
    Ok((image.push(&stage.registry, &format!("{text}:1"))?, image.digest))
}

#[test]
fn pulls_and_pushes_tell_names_and_digests() -> Result<()> {
    let stage = Stage::new()?;
    let (image, digest) = saying(&stage, "told")?;
    let pulled = stage.json(&format!("pull -q --label team=a {image}"))?;
    assert_eq!(pulled, json!({"name": image, "digest": digest}));
    let labels = stage.json("images")?[0]["labels"].clone();
    assert_eq!(labels["team"], "a", "{labels}");
    // Under another name, which stays the registry's.
    let other = stage.registry.reference("other/name:2");
    let pushed = stage.json(&format!("push -q {image} {other}"))?;
    assert_eq!(pushed, json!({"name": other, "digest": digest}));
    assert_eq!(at_registry(&other)?, digest);
    assert_eq!(stage.berth("images -q")?, format!("{image}\n"));
    Ok(())
}

#[test]
fn one_platform_is_pushed_when_that_is_asked_for() -> Result<()> {
    let stage = Stage::new()?;
    let one = |architecture: &'static str| {
        let recipe = Recipe { architecture, ..Recipe::default() };
        Image::build_as(&recipe, vec![Layer::noise(architecture, 1000, 1)?], json!({}))
    };
    let (here, there) = (one("amd64")?, one("arm64")?);
    let there_digest = there.digest.clone();
    let image = Image::index(Family::Oci, &[here, there])?.push(&stage.registry, "both:1")?;
    stage.berth(&format!("pull -q --no-unpack --platform linux/arm64 {image}"))?;
    let copy = stage.registry.reference("one:1");
    let pushed = stage.json(&format!("push -q --platform linux/arm64 {image} {copy}"))?;
    assert_eq!(at_registry(&copy)?, there_digest);
    assert_eq!(pushed["digest"], there_digest, "what the registry has is told");
    Ok(())
}

#[test]
fn a_pull_unpacks_where_and_if_that_is_asked_for() -> Result<()> {
    let stage = Stage::new()?;
    let (image, _) = saying(&stage, "packed")?;
    let snapshots = |snapshotter: &str| -> Result<usize> {
        Ok(stage.ctr(&format!("snapshots --snapshotter {snapshotter} ls"))?.lines().count() - 1)
    };
    stage.berth(&format!("pull -q --no-unpack {image}"))?;
    assert_eq!((snapshots("overlayfs")?, snapshots("native")?), (0, 0));
    stage.berth(&format!("pull -q --snapshotter native {image}"))?;
    assert_eq!((snapshots("overlayfs")?, snapshots("native")?), (0, 2));
    // What is packed is unpacked by the run that needs it.
    assert_eq!(stage.berth(&format!("run --rm --pull never {image}"))?, "packed");
    assert_eq!(snapshots("overlayfs")?, 2);
    Ok(())
}

#[test]
fn registries_are_found_as_the_hosts_folder_says() -> Result<()> {
    let stage = Stage::new()?;
    let hosts = stage.node.path("hosts");
    fs_err::create_dir_all(hosts.join("registry.example"))?;
    let server = format!("server = \"http://{}\"\n", stage.registry.host());
    fs_err::write(hosts.join("registry.example/hosts.toml"), server)?;
    let flag = format!("--hosts-dir {}", hosts.display());
    stage.berth(&format!("pull -q {flag} registry.example/busybox:1"))?;
    assert_eq!(stage.berth("images -q")?, "registry.example/busybox:1\n");
    stage.berth(&format!("push -q {flag} registry.example/busybox:1 registry.example/copy:1"))?;
    let copy = at_registry(&stage.registry.reference("copy:1"))?;
    assert_eq!(copy, at_registry(&stage.image)?);
    Ok(())
}

#[test]
fn a_tag_moves_its_name() -> Result<()> {
    let stage = Stage::new()?;
    let ((one, of_one), (two, of_two)) = (saying(&stage, "one")?, saying(&stage, "two")?);
    stage.berth(&format!("pull -q {one}"))?;
    stage.berth(&format!("pull -q {two}"))?;
    let name = "docker.io/library/moving:latest";
    for (image, digest, text) in [(&one, of_one, "one"), (&two, of_two, "two")] {
        let told = stage.json(&format!("tag {image} moving"))?;
        assert_eq!(told, json!({"name": name, "digest": digest}));
        assert_eq!(stage.json("inspect --type image moving")?[0]["digest"], digest);
        assert_eq!(stage.berth("run --rm moving")?, text);
    }
    assert_eq!(stage.berth("images -q")?.lines().count(), 3);
    Ok(())
}

#[test]
fn an_image_in_use_is_removed_only_by_force() -> Result<()> {
    let stage = Stage::pulled()?;
    let image = &stage.image;
    stage.run("-d --name rmi-user", "sleep 600").output()?.ok()?;
    let refused = stage.node.berth(&format!("rmi {image}")).output()?.fails(1)?;
    assert!(refused.contains("is used by container rmi-user"), "{refused}");
    assert_eq!(stage.berth("images -q")?, format!("{image}\n"));
    assert_eq!(stage.berth(&format!("rmi -f {image}"))?, format!("{image}\n"));
    stage.berth("gc")?;
    // The container goes on, and its file system with it.
    assert_eq!(stage.berth("exec rmi-user id -u")?, "0\n");
    assert_eq!(stage.ctr("snapshots ls")?.lines().count(), 3);
    stage.berth("rm -f rmi-user")?;
    Ok(())
}

#[test]
fn space_is_free_when_a_removal_that_waits_for_it_returns() -> Result<()> {
    // No collection but the one that is waited for.
    let gc = "[distribution.gc]\nstartup_delay = \"1h\"\n";
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start_with(gc)?;
    let berth = |line: &str| node.berth(&format!("{line} {image}")).output()?.ok();
    let blobs = || node.ctr("content ls -q").output()?.ok();
    berth("pull -q")?;
    berth("rmi")?;
    assert_eq!(blobs()?.lines().count(), 3, "they wait for a collection");
    berth("pull -q")?;
    berth("rmi --sync")?;
    assert_eq!(blobs()?, "");
    assert_eq!(node.ctr("snapshots ls").output()?.ok()?.lines().count(), 1);
    // Not only the records: files and directories are gone.
    for folder in
        ["distribution/blobs/sha256", "bundle/overlayfs/snapshots", "bundle/overlayfs/trash"]
    {
        let left = fs_err::read_dir(node.path("root").join(folder))?.count();
        assert_eq!(left, 0, "{folder}");
    }
    Ok(())
}
