//! Which snapshotter a node uses: the best that its file system carries, or the configured one.

use std::path::Path;

use anyhow::{Context, Result};
use berth_testkit::{Blob, Image, Layer, Node, Recipe, Registry};
use rustix::mount::MountFlags;
use serde_json::{Value, json};

/// Puts an overlay at the node's root: the kernel does not take one as the upper layer of another.
fn root_on_overlay(node: &Path) -> Result<()> {
    let at = |name: &str| node.join(name);
    for name in ["root", "lower", "upper", "work"] {
        fs_err::create_dir(at(name))?;
    }
    let (lower, upper, work) = (at("lower"), at("upper"), at("work"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options)?;
    rustix::mount::mount("overlay", at("root"), "overlay", MountFlags::empty(), &*options)
        .context("mount an overlay at the root")
}

fn ask(node: &Node, line: &str) -> Result<Value> {
    let printed = node.berth(&format!("--json {line}")).output()?.ok()?;
    serde_json::from_str(&printed).with_context(|| printed)
}

/// What `info` says of a snapshotter.
fn told(node: &Node, name: &str) -> Result<Value> {
    let info = ask(node, "info")?;
    let plugins = info["plugins"].as_array().context("plugins")?;
    let fits =
        |plugin: &&Value| plugin["type"] == "io.containerd.snapshotter.v1" && plugin["id"] == name;
    plugins.iter().find(fits).cloned().with_context(|| format!("{name}: {info}"))
}

/// Pulls and runs without naming a snapshotter; all snapshots have to be native's.
fn everything_is_natives(node: &Node, name: &str) -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    node.berth(&format!("pull {image}")).output()?.ok()?;
    node.berth(&format!("run -d --name {name} {image} sleep 600")).output()?.ok()?;
    let written = node.berth(&format!("exec {name} sh -c")).args(["echo yes > /it; cat /it"]);
    assert_eq!(written.output()?.ok()?.trim(), "yes");
    let record = ask(node, &format!("inspect {name}"))?;
    assert_eq!(record[0]["snapshotter"], "native", "{record}");
    // The image's layer and the container's own.
    let kept = fs_err::read_dir(node.path("root/bundle/native/snapshots"))?.count();
    assert_eq!(kept, 2);
    assert_eq!(fs_err::read_dir(node.path("root/bundle/overlayfs/snapshots"))?.count(), 0);
    node.berth(&format!("rm -f {name}")).output()?.ok()?;
    Ok(())
}

#[test]
fn a_file_system_that_carries_no_overlays_is_told_and_native_takes_over() -> Result<()> {
    let node = Node::start_as("", &[], root_on_overlay)?;
    let off = told(&node, "overlayfs")?;
    let why = off["error"].as_str().with_context(|| format!("overlayfs works: {off}"))?;
    assert!(why.contains("overlayfs/probe"), "{why}");
    assert!(node.berth("info").output()?.ok()?.contains("snapshotter.v1.overlayfs (off: "));
    assert_eq!(told(&node, "native")?["exports"]["default"], "true");
    everything_is_natives(&node, "on-an-overlay")?;
    let refused = node.ctr("snapshots --snapshotter overlayfs ls").output()?.fails(1)?;
    assert!(refused.contains("overlayfs"), "{refused}");
    Ok(())
}

#[test]
fn the_configured_snapshotter_is_the_default() -> Result<()> {
    let node = Node::start_with("[bundle]\nsnapshotter = \"native\"\n")?;
    assert_eq!(told(&node, "overlayfs")?["error"], Value::Null);
    assert_eq!(told(&node, "overlayfs")?["exports"]["default"], Value::Null);
    assert_eq!(told(&node, "native")?["exports"]["default"], "true");
    everything_is_natives(&node, "configured-native")
}

/// The labels count for those who name nothing, by command and over the API, in that namespace alone.
#[test]
fn a_namespaces_labels_say_which_snapshotter_and_runtime_are_its_default() -> Result<()> {
    let node = Node::start()?;
    let labels = "containerd.io/defaults/snapshotter=native \
        containerd.io/defaults/runtime=io.containerd.other.v1";
    node.ctr(&format!("namespaces create labelled {labels}")).output()?.ok()?;
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    for (namespace, snapshotter, runtime) in [
        ("labelled", "native", "io.containerd.other.v1"),
        ("default", "overlayfs", "io.containerd.runc.v2"),
    ] {
        let line = |line: &str| format!("-n {namespace} {line}");
        node.berth(&line(&format!("create --name by-label-{namespace} {image}"))).output()?.ok()?;
        let record = ask(&node, &line(&format!("inspect by-label-{namespace}")))?;
        assert_eq!(record[0]["snapshotter"], snapshotter, "{record}");
        assert_eq!(record[0]["runtime"], runtime, "{record}");
    }
    let named = format!("create --name named --snapshotter overlayfs --runtime r.v1 {image}");
    node.berth(&format!("-n labelled {named}")).output()?.ok()?;
    let record = ask(&node, "-n labelled inspect named")?;
    assert_eq!(
        (&record[0]["snapshotter"], &record[0]["runtime"]),
        (&json!("overlayfs"), &json!("r.v1"))
    );
    Ok(())
}

/// More layers than one page of mount options holds, through a pull, mounts and containers.
#[test]
fn an_image_of_a_hundred_and_forty_layers_runs() -> Result<()> {
    let node = Node::start()?;
    let registry = Registry::start()?;
    let mut layers = vec![Layer::busybox()?];
    for n in 1..140 {
        let text = n.to_string();
        layers.push(Layer::default().file(&format!("layers/{n}"), 0o644, text.as_bytes())?);
    }
    let image = Image::build(layers, serde_json::json!({}))?.push(&registry, "deep:1")?;
    node.berth(&format!("pull -q {image}")).output()?.ok()?;
    let count = ["ls /layers | wc -l; cat /layers/1 /layers/139"];
    let run = node.berth(&format!("run --rm --name deep-berth {image} sh -c")).args(count);
    assert_eq!(run.output()?.ok()?.split_whitespace().collect::<Vec<_>>(), ["139", "1139"]);
    let run = node.ctr(&format!("run --rm {image} deep-ctr sh -c")).args(count);
    assert_eq!(run.output()?.ok()?.split_whitespace().collect::<Vec<_>>(), ["139", "1139"]);
    // A client's own mount of them.
    let at = node.path("deep");
    fs_err::create_dir(&at)?;
    node.ctr(&format!("images mount {image} {}", at.display())).output()?.ok()?;
    assert_eq!(fs_err::read_dir(at.join("layers"))?.count(), 139);
    node.ctr(&format!("images unmount --rm {}", at.display())).output()?.ok()?;
    Ok(())
}

/// The digests of a container's files, by a program that reads all of them.
fn sums(node: &Node, image: &str, snapshotter: &str, name: &str) -> Result<String> {
    let script = "cd / && find app -exec stat -c '%n %f %u:%g %Y %N' {} + | sort; \
        find app -type f | sort | xargs md5sum";
    let line = format!("run --rm --name {name} --snapshotter {snapshotter} {image} sh -c");
    node.berth(&line).args([script]).output()?.ok()
}

/// Three layers: files, some of them replaced, removed and hidden.
fn layered() -> Result<Image> {
    let base = Layer::busybox()?
        .dir("app")?
        .file("app/kept", 0o640, b"kept")?
        .file("app/replaced", 0o644, b"before")?
        .file("app/removed", 0o644, b"x")?
        .hard_link("app/again", "app/kept")?
        .symlink("app/link", "kept")?
        .dir("app/hidden")?
        .file("app/hidden/old", 0o644, b"old")?
        .dir("app/implied")?
        .file("app/implied/one", 0o644, b"1")?;
    let second = Layer::default()
        .file("app/replaced", 0o600, b"after")?
        .file("app/.wh.removed", 0o644, b"")?
        .dir("app/hidden")?
        .file("app/hidden/.wh..wh..opq", 0o644, b"")?
        .file("app/hidden/new", 0o644, b"new")?;
    let third = Layer::default().file("app/implied/two", 0o755, &[b'2'; 300_000])?;
    Image::build(vec![base, second, third], json!({"Cmd": ["/bin/sh"]}))
}

/// Pulled, unpacked by ctr, run by both clients, compared with overlayfs, collected.
#[test]
fn images_run_on_erofs() -> Result<()> {
    let node = Node::start()?;
    assert_eq!(told(&node, "erofs")?["error"], Value::Null);
    let registry = Registry::start()?;
    let image = layered()?.push(&registry, "layered:1")?;
    node.berth(&format!("pull --snapshotter erofs {image}")).output()?.ok()?;
    let kept = || {
        Ok::<_, anyhow::Error>(fs_err::read_dir(node.path("root/bundle/erofs/snapshots"))?.count())
    };
    assert_eq!(kept()?, 3);
    node.berth(&format!("pull {image}")).output()?.ok()?;
    let overlay = sums(&node, &image, "overlayfs", "sums-overlay")?;
    assert!(overlay.contains("app/hidden/new") && !overlay.contains("removed"), "{overlay}");
    assert_eq!(sums(&node, &image, "erofs", "sums-erofs")?, overlay);

    // A user of the image's own, by name; what is written stays over a stop and a kill of bundle.
    let run = format!("run -d --name on-erofs --snapshotter erofs {image} sleep 600");
    node.berth(&run).output()?.ok()?;
    let exec = |script: &str| node.berth("exec on-erofs sh -c").args([script]).output()?.ok();
    // By the name of a user, who is looked up in what the container has.
    let named = node.berth("exec --user root on-erofs cat").args(["/app/link"]).output()?;
    assert_eq!(named.ok()?, "kept");
    exec("echo written > /app/kept; rm /app/implied/one")?;
    let bundle = node.service_pid("berth-bundle")?;
    node.kill_service("berth-bundle")?;
    berth_testkit::until("bundle is started again", std::time::Duration::from_secs(30), || {
        node.service_pid("berth-bundle").is_ok_and(|pid| pid != bundle)
    })?;
    assert_eq!(exec("cat /app/kept /app/replaced; ls /app/implied")?, "written\naftertwo\n");
    node.berth("stop -t 0 on-erofs").output()?.ok()?;
    assert!(!node.mounts().iter().any(|at| at.contains("activations")), "{:?}", node.mounts());
    node.berth("start on-erofs").output()?.ok()?;
    assert_eq!(exec("cat /app/kept; ls /app/implied")?, "written\ntwo\n");
    node.berth("rm -f on-erofs").output()?.ok()?;

    // ctr's own way: Prepare, Diff.Apply and Commit for each layer. This ctr mounts images itself
    // before it runs them, and knows nothing of mounts that are activated.
    let own = layered()?.push(&registry, "layered:ctr")?;
    let pull = format!("-n ctr images pull --plain-http --snapshotter erofs {own}");
    node.ctr(&pull).output()?.ok()?;
    let ran = node.berth(&format!("-n ctr run --rm --name ctrs --snapshotter erofs {own} cat"));
    assert_eq!(ran.args(["/app/replaced"]).output()?.ok()?, "after");
    node.ctr(&format!("-n ctr images rm --sync {own}")).output()?.ok()?;

    node.berth(&format!("rmi {image}")).output()?.ok()?;
    node.berth("gc").output()?.ok()?;
    assert_eq!(kept()?, 0);
    node.shims_end()
}

/// An image whose layers are EROFS images runs as it is; other snapshotters say what they cannot.
#[test]
fn an_image_of_erofs_layers_runs() -> Result<()> {
    let node = Node::start()?;
    let registry = Registry::start()?;
    let folder = tempfile::tempdir()?;
    let native = |name: &str, layer: Layer| -> Result<Blob> {
        let (tree, blob) = (folder.path().join(name), folder.path().join(format!("{name}.erofs")));
        fs_err::create_dir(&tree)?;
        layer.unpack(&tree)?;
        berth_testkit::run(&format!("mkfs.erofs --quiet {} {}", blob.display(), tree.display()))?;
        let bytes = fs_err::read(blob)?;
        let media_type = "application/vnd.erofs.layer.v1".to_owned();
        let mut blob = Blob { media_type, diff_id: String::new(), bytes };
        blob.diff_id = blob.digest();
        Ok(blob)
    };
    let top = Layer::default().file("native", 0o644, b"by erofs alone")?;
    let blobs = vec![native("base", Layer::busybox()?)?, native("top", top)?];
    let image = Image::of_blobs(&Recipe::default(), blobs, json!({"Cmd": ["/bin/sh"]}))?;
    let image = image.push(&registry, "native:1")?;
    let refused = node.berth(&format!("pull {image}")).output()?.fails(1)?;
    assert!(refused.contains("the erofs snapshotter alone takes"), "{refused}");
    node.berth(&format!("pull --snapshotter erofs {image}")).output()?.ok()?;
    let run = format!("run --rm --name native-berth --snapshotter erofs {image} cat /native");
    assert_eq!(node.berth(&run).output()?.ok()?, "by erofs alone");
    // ctr's own way, after the snapshots are gone.
    node.berth(&format!("rmi {image}")).output()?.ok()?;
    let pull = format!("images pull --plain-http --snapshotter erofs {image}");
    node.ctr(&pull).output()?.ok()?;
    let run = format!("run --rm --name native-again --snapshotter erofs {image} cat /native");
    assert_eq!(node.berth(&run).output()?.ok()?, "by erofs alone");
    Ok(())
}
