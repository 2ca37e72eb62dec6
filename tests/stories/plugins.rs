//! Parts that are left out: clients do not see them, and what needs them says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Node, Registry, program, until, write_program};
use rustix::process::Signal;

/// The lines of `ctr plugins ls`, each its type, ID and status.
fn plugins(node: &Node) -> Result<Vec<(String, String, String)>> {
    let printed = node.ctr("plugins ls").output()?.ok()?;
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (kind, id) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some((kind, id, words.last()?.to_owned()))
    };
    Ok(printed.lines().skip(1).filter_map(line).collect())
}

/// The status of one, if it is listed.
fn status(listed: &[(String, String, String)], kind: &str, id: &str) -> Option<String> {
    let kind = format!("io.containerd.{kind}");
    let found = listed.iter().find(|(of, name, _)| *of == kind && name == id);
    found.map(|(_, _, status)| status.clone())
}

/// What a service does, by its tasks.
pub fn tasks(node: &Node, service: &str) -> Result<String> {
    let pid = node.service_pid(service)?;
    let file = std::env::temp_dir().join(format!("{service}.{pid}.tasks.log"));
    // Before it listens the signal would end it.
    let status = format!("/proc/{pid}/status");
    let listens = || {
        let status = fs_err::read_to_string(&status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        caught.is_some_and(|set| set & (1 << (Signal::USR1.as_raw() - 1)) != 0)
    };
    until("it listens for SIGUSR1", Duration::from_secs(60), listens)?;
    program("kill").args(["-USR1", &pid.to_string()]).output()?.ok()?;
    until("its tasks are written down", Duration::from_secs(60), || file.exists())?;
    let text = fs_err::read_to_string(&file)?;
    fs_err::remove_file(file)?;
    Ok(text)
}

/// The status of parts whose types and IDs are named.
fn has(node: &Node, parts: &[(&str, &str, Option<&str>)]) -> Result<()> {
    let listed = plugins(node)?;
    for (kind, id, expected) in parts {
        let found = status(&listed, kind, id);
        ensure!(found.as_deref() == *expected, "{kind}.{id} is {found:?}");
    }
    Ok(())
}

#[test]
fn what_is_left_out_does_nothing_and_nobody_is_shown_it() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let verifiers = tempfile::tempdir()?;
    let no = verifiers.path().join("no");
    write_program(&no, "#!/bin/sh\nexit 1\n")?;
    let verifies = format!("[distribution.image_verifiers]\nbin_dir = {:?}\n", verifiers.path());
    let node = Node::start_with(&verifies)?;
    let refused = node.berth(&format!("pull -q {image}")).output()?;
    ensure!(refused.code != 0, "nobody was asked: {refused}");
    ensure!(tasks(&node, "berth-runtime")?.contains("restart-monitor: "));
    has(&node, &[("snapshotter.v1", "native", Some("ok")), ("grpc.v1", "diff", Some("ok"))])?;
    drop(node);

    let disabled = [
        "io.containerd.snapshotter.v1.native",
        "io.containerd.image-verifier.v1.bindir",
        "io.containerd.internal.v1.restart",
        "io.containerd.service.v1.diff-service",
        "io.containerd.grpc.v1.cri",
    ];
    let node = Node::start_with(&format!("disabled_plugins = {disabled:?}\n{verifies}"))?;
    has(
        &node,
        &[
            ("snapshotter.v1", "native", None),
            ("snapshotter.v1", "overlayfs", Some("ok")),
            ("image-verifier.v1", "bindir", None),
            ("monitor.container.v1", "restart", None),
            ("service.v1", "diff-service", None),
            ("grpc.v1", "diff", Some("error")),
            ("grpc.v1", "snapshots", Some("ok")),
        ],
    )?;
    ensure!(!tasks(&node, "berth-runtime")?.contains("restart-monitor: "));
    node.berth(&format!("pull -q {image}")).output()?.ok()?;
    let ran = node.berth(&format!("run --rm --name plugins-run {image} echo ran")).output()?;
    ensure!(ran.ok()? == "ran\n");
    let native = node.ctr("snapshots --snapshotter native ls").output()?.fails(1)?;
    ensure!(native.contains("snapshotter not loaded: native: invalid argument"), "{native}");
    node.ctr("snapshots prepare plugins-one").output()?.ok()?;
    let diff = node.ctr("snapshots diff plugins-one").output()?.fails(1)?;
    ensure!(diff.contains("unknown service containerd.services.diff.v1.Diff"), "{diff}");
    Ok(())
}

#[test]
fn without_metadata_there_is_little_left() -> Result<()> {
    let names = ["io.containerd.metadata.v1.bolt", "io.containerd.sandbox.controller.v1.shim"];
    let node = Node::start_with(&format!("disabled_plugins = {names:?}\n"))?;
    node.ctr("version").output()?.ok()?;
    for line in ["images ls", "containers ls", "content ls", "snapshots ls", "namespaces ls"] {
        let refused = node.ctr(line).output()?.fails(1)?;
        ensure!(refused.contains("unknown service containerd.services."), "{line}: {refused}");
    }
    has(
        &node,
        &[
            ("metadata.v1", "bolt", None),
            ("sandbox.controller.v1", "shim", None),
            ("grpc.v1", "images", Some("error")),
            ("grpc.v1", "version", Some("ok")),
        ],
    )
}

/// What containerd lists of its CRI is listed where there is one; a part of it that is left out takes it along.
#[test]
fn what_kubelets_call_is_listed_where_it_is() -> Result<()> {
    const ON: &str = "[cri]\nenabled = true\n";
    let parts = |images, cri| {
        [("cri.v1", "images", images), ("cri.v1", "runtime", Some("ok")), ("grpc.v1", "cri", cri)]
    };
    let node = Node::start_with(ON)?;
    // It says so when it is there.
    let there = || plugins(&node).is_ok_and(|all| status(&all, "grpc.v1", "cri").is_some());
    until("berth-cri answers", Duration::from_secs(60), there)?;
    has(&node, &parts(Some("ok"), Some("ok")))?;
    let runtime = node.ctr("plugins ls -d id==runtime").output()?.ok()?;
    ensure!(runtime.contains("CRIVersion") && runtime.contains("v1"), "{runtime}");
    drop(node);

    let node =
        Node::start_with(&format!("disabled_plugins = ['io.containerd.cri.v1.images']\n{ON}"))?;
    let there = || plugins(&node).is_ok_and(|all| status(&all, "grpc.v1", "cri").is_some());
    until("berth-cri answers", Duration::from_secs(60), there)?;
    has(&node, &parts(None, Some("error")))?;
    drop(node);

    let node =
        Node::start_with(&format!("disabled_plugins = ['io.containerd.grpc.v1.cri']\n{ON}"))?;
    let none = [("cri.v1", "images", None), ("cri.v1", "runtime", None), ("grpc.v1", "cri", None)];
    has(&node, &none)?;
    ensure!(node.service_pid("berth-cri").is_err(), "it runs for nothing");
    node.fsck()
}

#[test]
fn nothing_is_collected_by_itself_without_the_scheduler() -> Result<()> {
    let collects = |node: &Node| -> Result<bool> {
        Ok(tasks(node, "berth-distribution")?.lines().any(|line| line.contains("collector: ")))
    };
    ensure!(collects(&Node::start()?)?);
    let node = Node::start_with("disabled_plugins = [\"io.containerd.gc.v1.scheduler\"]\n")?;
    ensure!(!collects(&node)?);
    // As with containerd: images and leases ask for collections.
    let refused = node.ctr("images ls").output()?.fails(1)?;
    ensure!(refused.contains("unknown service containerd.services.images.v1.Images"), "{refused}");
    node.ctr("content ls").output()?.ok().context("content needs no collections")?;
    Ok(())
}

#[test]
fn what_the_node_lives_by_is_not_left_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("berth.toml");
    fs_err::write(&file, "disabled_plugins = [\"io.containerd.server.v1.grpc\"]\n")?;
    let berthd = program(Node::binary("berthd")?).args(["--config"]).args([&file]);
    let root = [folder.path().join("root"), folder.path().join("state")];
    let berthd = berthd.args(["--root"]).args([&root[0]]).args(["--state"]).args([&root[1]]);
    let refused = berthd.output()?.fails(1)?;
    ensure!(refused.contains("disabled_plugins is \"io.containerd.server.v1.grpc\""), "{refused}");
    ensure!(!root[1].join("berth.sock").exists());
    Ok(())
}
