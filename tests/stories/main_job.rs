//! The main job through `berth` itself: from a registry to a running container and back.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Image, Layer, Node, Registry, until};
use serde_json::Value;

/// A container of equal name on another node, such as the pages' `web`, would share its control group.
const WEB: &str = "main-job-web";

/// Waits until a command shows something. What a shim does not say within two seconds, as on a machine
/// that stalls, is left out of what is shown.
fn shows(node: &Node, command: &str, words: &str) -> Result<()> {
    let shown = || node.berth(command).output()?.ok();
    let has = || shown().is_ok_and(|shown| shown.contains(words));
    until(&format!("berth {command} shows {words:?}"), Duration::from_secs(60), has)
}

#[test]
fn an_image_is_pulled_run_looked_into_and_removed() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;

    node.berth(&format!("pull {image}")).output()?.ok()?;
    let listed: Value = serde_json::from_str(&node.berth("--json images").output()?.ok()?)?;
    assert!(listed.to_string().contains(&image), "{listed}");

    let hello = node.berth(&format!("run --rm {image} echo hello")).output()?.ok()?;
    assert_eq!(hello, "hello\n");
    let code = node.berth(&format!("run --rm {image}")).args(["sh", "-c", "exit 7"]).output()?;
    assert_eq!(code.code, 7, "{code}");

    node.berth(&format!("run -d --name {WEB} {image} sh -c"))
        .args(["echo up; exec sleep 600"])
        .output()?
        .ok()?;
    shows(&node, "ps", WEB)?;
    assert_eq!(node.berth(&format!("exec {WEB} echo inside")).output()?.ok()?, "inside\n");
    assert_eq!(node.berth(&format!("exec {WEB}")).args(["sh", "-c", "exit 9"]).output()?.code, 9);
    shows(&node, &format!("logs {WEB}"), "up\n")?;
    shows(&node, "stats --no-stream", WEB)?;
    assert!(node.berth(&format!("inspect {WEB}")).output()?.ok()?.contains(&image));
    node.berth(&format!("stop -t 1 {WEB}")).output()?.ok()?;
    node.berth(&format!("rm {WEB}")).output()?.ok()?;
    assert!(!node.berth("ps -a").output()?.ok()?.contains(WEB));

    node.berth(&format!("rmi {image}")).output()?.ok()?;
    node.berth("gc").output()?.ok()?;
    assert!(node.ctr("content ls -q").output()?.ok()?.trim().is_empty());
    assert!(node.ctr("snapshots ls").output()?.ok()?.lines().count() <= 1);
    node.shims_end()?;
    assert_eq!(node.mounts(), Vec::<String>::new());
    Ok(())
}

#[test]
fn options_of_run_reach_the_container() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    node.berth(&format!("pull {image}")).output()?.ok()?;
    let run = |options: &str, script: &str| -> Result<String> {
        let line = format!("run --rm {options} {image} sh -c");
        Ok(node.berth(&line).args([script]).output()?.ok()?.trim().to_owned())
    };

    assert_eq!(run("-e WHO=me", "echo $WHO")?, "me");
    assert_eq!(run("-u guest", "id -u")?, "1000");
    assert_eq!(run("-w /tmp", "pwd")?, "/tmp");
    assert_eq!(run("--read-only", "touch /x 2>/dev/null || echo refused")?, "refused");
    assert_eq!(run("--hostname box", "hostname")?, "box");
    let shared = tempfile_with("note", "from the host")?;
    let mount = format!("-v {}:/shared:ro", shared.path().display());
    assert_eq!(run(&mount, "cat /shared/note")?, "from the host");
    assert_eq!(run(&mount, "touch /shared/x 2>/dev/null || echo refused")?, "refused");
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(run("-m 64m", limit)?, "67108864");
    Ok(())
}

#[test]
fn input_goes_in_whole() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    node.berth(&format!("pull {image}")).output()?.ok()?;

    let echoed = node.berth(&format!("run --rm -i {image} cat")).output_with(b"through\n")?.ok()?;
    assert_eq!(echoed, "through\n");
    let wide = vec![b'x'; 1 << 20];
    let counted = node.berth(&format!("run --rm -i {image} wc -c")).output_with(&wide)?.ok()?;
    assert_eq!(counted.trim(), "1048576");
    Ok(())
}

#[test]
fn an_image_is_tagged_pushed_exported_and_imported() -> Result<()> {
    let registry = Registry::start_with_password("ann", "secret")?;
    let made = Image::build(
        vec![Layer::busybox()?, Layer::default().file("etc/motd", 0o644, b"two layers\n")?],
        serde_json::json!({"Cmd": ["cat", "/etc/motd"]}),
    )?;
    let image = made.push_with(&registry, "team/app:1", &["--dest-creds", "ann:secret"])?;
    let node = Node::start()?;

    let refused = node.berth(&format!("pull {image}")).output()?;
    assert_ne!(refused.code, 0, "{refused}");
    node.berth(&format!("pull --user ann:secret {image}")).output()?.ok()?;
    assert_eq!(node.berth(&format!("run --rm {image}")).output()?.ok()?, "two layers\n");

    let copy = registry.reference("team/copy:2");
    node.berth(&format!("tag {image} {copy}")).output()?.ok()?;
    node.berth(&format!("push --user ann:secret {copy}")).output()?.ok()?;
    let seen = berth_testkit::program("skopeo")
        .args(["inspect", "--tls-verify=false", "--creds", "ann:secret"])
        .args([format!("docker://{copy}")])
        .output()?
        .ok()?;
    let seen: Value = serde_json::from_str(&seen)?;
    assert_eq!(seen["Digest"].as_str().context("digest")?, made.digest);

    let file = node.path("app.tar");
    node.berth("export").args([&file]).args([&image]).output()?.ok()?;
    node.berth(&format!("rmi {image} {copy}")).output()?.ok()?;
    node.berth("gc").output()?.ok()?;
    node.berth("import").args([&file]).output()?.ok()?;
    assert_eq!(node.berth(&format!("run --rm {image}")).output()?.ok()?, "two layers\n");
    Ok(())
}

/// A folder of its own with one file.
fn tempfile_with(name: &str, text: &str) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    fs_err::write(dir.path().join(name), text)?;
    Ok(dir)
}
