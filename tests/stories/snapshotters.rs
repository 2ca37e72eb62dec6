//! Which snapshotter a node uses: the best that its file system carries, or the configured one.

use std::path::Path;

use anyhow::{Context, Result};
use berth_testkit::{Image, Layer, Node, Registry};
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
