//! Debian's ctr 1.6.20 on the gateway's socket, command by command.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use berth_testkit::{Image, Layer, Node, Registry};

/// A node and a registry with busybox in it.
struct Stage {
    node: Node,
    image: String,
    _registry: Registry,
}

impl Stage {
    fn new() -> Result<Self> {
        let registry = Registry::start()?;
        let image = Image::busybox()?.push(&registry, "busybox:1")?;
        Ok(Self { node: Node::start()?, image, _registry: registry })
    }

    fn pulled() -> Result<Self> {
        let stage = Self::new()?;
        stage.ctr(&format!("images pull --plain-http {}", stage.image))?;
        Ok(stage)
    }

    /// What a successful ctr command printed.
    fn ctr(&self, line: &str) -> Result<String> {
        self.node.ctr(line).output()?.ok()
    }

    /// What a ctr command printed that has to fail.
    fn refused(&self, line: &str) -> Result<String> {
        self.node.ctr(line).output()?.fails(1)
    }
}

#[test]
fn version_plugins_and_namespaces() -> Result<()> {
    let stage = Stage::new()?;
    let version = stage.ctr("version")?;
    assert!(version.contains("Server:") && version.contains("Version:"), "{version}");
    let plugins = stage.ctr("plugins ls")?;
    for plugin in ["io.containerd.snapshotter.v1", "overlayfs", "io.containerd.runtime.v2"] {
        assert!(plugins.contains(plugin), "{plugin} is missing: {plugins}");
    }
    stage.ctr("namespaces create one owner=me")?;
    assert!(stage.ctr("namespaces ls")?.contains("owner=me"));
    stage.ctr("namespaces label one owner=you")?;
    assert!(stage.ctr("namespaces ls")?.contains("owner=you"));
    assert!(stage.refused("namespaces create one")?.contains("already exists"));
    stage.ctr("namespaces rm one")?;
    assert!(!stage.ctr("namespaces ls -q")?.contains("one"));
    Ok(())
}

#[test]
fn images() -> Result<()> {
    let stage = Stage::pulled()?;
    let image = &stage.image;
    assert_eq!(stage.ctr("images ls -q")?.trim(), image);
    assert!(stage.ctr("images check")?.contains("complete"));
    let copy = image.replace("busybox:1", "copy:2");
    stage.ctr(&format!("images tag {image} {copy}"))?;
    stage.ctr(&format!("images push --plain-http {copy}"))?;
    let tar = stage.node.path("image.tar");
    stage.node.ctr("images export").args([&tar]).args([&copy]).output()?.ok()?;
    stage.ctr(&format!("images rm --sync {image} {copy}"))?;
    assert_eq!(stage.ctr("images ls -q")?.trim(), "");
    assert_eq!(stage.ctr("content ls -q")?.trim(), "");
    stage.node.ctr("images import").args([&tar]).output()?.ok()?;
    assert_eq!(stage.ctr("images ls -q")?.trim(), copy);

    let target = stage.node.path("mnt");
    fs_err::create_dir(&target)?;
    stage.node.ctr("images mount").args([&copy]).args([&target]).output()?.ok()?;
    assert!(target.join("bin/busybox").exists());
    stage.node.ctr("images unmount --rm").args([&target]).output()?.ok()?;
    assert!(!target.join("bin").exists());
    let missing = stage.refused("images pull --plain-http 127.0.0.1:1/none:1")?;
    assert!(missing.contains("127.0.0.1:1"), "{missing}");
    Ok(())
}

#[test]
fn content() -> Result<()> {
    let stage = Stage::pulled()?;
    let digests: BTreeSet<String> =
        stage.ctr("content ls -q")?.lines().map(str::to_owned).collect();
    assert_eq!(digests.len(), 3, "manifest, config, layer: {digests:?}");
    let blob = "a blob of our own";
    let digest = "sha256:7d3a9f34d8e0bb2b2cba5a5d4c1fb6cf1f0c44c3d9bfac48db1cb8c1ab1c1ee7";
    let wrong = stage.node.ctr(&format!("content ingest --expected-digest {digest} ref"));
    assert_ne!(wrong.output_with(blob.as_bytes())?.code, 0);
    stage.node.ctr("content ingest mine").output_with(blob.as_bytes())?.ok()?;
    let after: BTreeSet<String> = stage.ctr("content ls -q")?.lines().map(str::to_owned).collect();
    let ours = after.difference(&digests).next().context("the new blob is not listed")?;
    assert_eq!(stage.ctr(&format!("content get {ours}"))?, blob);
    stage.ctr(&format!("content label {ours} kind=test"))?;
    assert!(stage.ctr("content ls")?.contains("kind=test"));
    stage.ctr(&format!("content rm {ours}"))?;
    assert!(stage.refused(&format!("content get {ours}"))?.contains("not found"));
    stage.ctr(&format!("content fetch --plain-http {}", stage.image))?;
    Ok(())
}

#[test]
fn snapshots() -> Result<()> {
    let stage = Stage::pulled()?;
    let list = stage.ctr("snapshots ls")?;
    let base = list.lines().nth(1).and_then(|l| l.split_whitespace().next()).context("no layer")?;
    assert!(stage.ctr(&format!("snapshots info {base}"))?.contains("Committed"));
    let target = stage.node.path("mnt");
    fs_err::create_dir(&target)?;
    stage.ctr(&format!("snapshots prepare work {base}"))?;
    let mounts = stage.ctr(&format!("snapshots mounts {} work", target.display()))?;
    berth_testkit::program("sh").args(["-c", &mounts]).output()?.ok()?;
    fs_err::write(target.join("new"), "file")?;
    let diff = stage.node.ctr("snapshots diff work").output()?;
    assert_eq!(diff.code, 0, "{}", diff.stderr);
    berth_testkit::program("umount").args([&target]).output()?.ok()?;
    stage.ctr("snapshots commit done work")?;
    assert!(stage.ctr("snapshots usage done")?.contains("done"));
    assert!(stage.ctr("snapshots view look done")?.is_empty());
    assert!(stage.refused("snapshots rm done")?.contains("cannot remove snapshot with child"));
    stage.ctr("snapshots rm look")?;
    stage.ctr("snapshots rm done")?;
    assert!(stage.refused("snapshots info done")?.contains("not found"));
    Ok(())
}

#[test]
fn leases_and_containers() -> Result<()> {
    let stage = Stage::pulled()?;
    let lease = stage.ctr("leases create --id mine")?;
    assert_eq!(lease.trim(), "mine");
    assert!(stage.ctr("leases ls")?.contains("mine"));
    stage.ctr("leases rm mine")?;
    assert!(!stage.ctr("leases ls -q")?.contains("mine"));
    stage.ctr(&format!("containers create --label a=b {} box echo hi", stage.image))?;
    assert!(stage.ctr("containers ls")?.contains("box"));
    assert!(stage.ctr("containers info box")?.contains("\"a\": \"b\""));
    stage.ctr("containers label box a=c")?;
    assert!(stage.ctr("containers info box")?.contains("\"a\": \"c\""));
    assert!(
        stage
            .refused(&format!("containers create {} box", stage.image))?
            .contains("already exists")
    );
    stage.ctr("containers rm box")?;
    assert!(stage.refused("containers info box")?.contains("not found"));
    Ok(())
}

#[test]
fn run_in_the_foreground() -> Result<()> {
    let stage = Stage::pulled()?;
    let run = |options: &str, id: &str| {
        stage.node.ctr(&format!("run --rm {options} {} {id}", stage.image))
    };
    assert_eq!(run("", "a").args(["echo", "hi"]).output()?.ok()?, "hi\n");
    assert_eq!(run("", "b").args(["sh", "-c", "exit 5"]).output()?.code, 5);
    assert_eq!(run("--env A=1", "c").args(["sh", "-c", "echo $A"]).output()?.ok()?, "1\n");
    assert_eq!(run("--cwd /tmp", "d").args(["pwd"]).output()?.ok()?, "/tmp\n");
    assert_eq!(run("--label a=b", "e").args(["id", "-u"]).output()?.ok()?, "0\n");
    assert_eq!(run("--read-only", "f").args(["sh", "-c", "touch /x || exit 3"]).output()?.code, 3);
    assert_eq!(run("--net-host", "g").args(["true"]).output()?.code, 0);
    assert_eq!(run("--privileged", "h").args(["true"]).output()?.code, 0);
    assert_eq!(run("--memory-limit 67108864 --cpus 0.5", "i").args(["true"]).output()?.code, 0);
    let missing = run("", "j").args(["/no/such"]).output()?;
    assert!(missing.stderr.contains("no such file or directory"), "{missing}");
    assert_eq!(stage.ctr("containers ls -q")?.trim(), "");
    assert_eq!(stage.node.shims(), Vec::<u32>::new());
    Ok(())
}

#[test]
fn a_detached_container_and_its_tasks() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.ctr(&format!("run -d {} box sleep 600", stage.image))?;
    assert!(stage.ctr("tasks ls")?.contains("RUNNING"));
    assert!(stage.ctr("tasks ps box")?.lines().count() >= 2);
    assert_eq!(stage.ctr("tasks exec --exec-id e1 box echo inside")?, "inside\n");
    assert_eq!(
        stage.node.ctr("tasks exec --exec-id e2 box").args(["sh", "-c", "exit 4"]).output()?.code,
        4
    );
    stage.ctr("tasks pause box")?;
    assert!(stage.ctr("tasks ls")?.contains("PAUSED"));
    stage.ctr("tasks resume box")?;
    assert!(stage.ctr("tasks metrics box")?.contains("memory"));
    assert!(!stage.refused("containers rm box")?.is_empty());
    stage.ctr("tasks kill -s SIGKILL box")?;
    berth_testkit::until("the task stops", std::time::Duration::from_secs(10), || {
        stage.ctr("tasks ls").is_ok_and(|list| list.contains("STOPPED"))
    })?;
    let removed = stage.node.ctr("tasks rm box").output()?;
    assert!(removed.stderr.contains("exit code 137"), "{removed}");
    stage.ctr("containers rm box")?;
    assert_eq!(stage.node.shims(), Vec::<u32>::new());
    Ok(())
}

#[test]
fn layers_with_whiteouts_merge() -> Result<()> {
    let registry = Registry::start()?;
    let top = Layer::default()
        .dir("etc")?
        .file("etc/.wh.motd", 0o644, b"")?
        .file("etc/new", 0o600, b"top")?
        .file("opt/deep/file", 0o644, b"x")?;
    let bottom = Layer::busybox()?.file("etc/motd", 0o644, b"gone")?;
    let image = Image::build(vec![bottom, top], serde_json::json!({}))?.push(&registry, "two:1")?;
    let node = Node::start()?;
    node.ctr(&format!("images pull --plain-http {image}")).output()?.ok()?;
    let script = "ls /etc; cat /etc/new /opt/deep/file";
    let seen = node.ctr(&format!("run --rm {image} x sh -c")).args([script]).output()?.ok()?;
    assert_eq!(seen, "group\nnew\npasswd\ntopx");
    Ok(())
}
