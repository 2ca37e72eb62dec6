//! What an operator asks of a machine and of a node: doctor, df, top.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Image, Layer, Node, Output, Session, program, until};
use serde_json::{Value, json};

use crate::stage::Stage;

/// `berth doctor` on folders of its own, without a node, with this configuration.
fn doctor(dir: &std::path::Path, config: &str) -> Result<Output> {
    let file = dir.join("berth.toml");
    fs_err::write(&file, config)?;
    let flags = ["--address", "/nowhere.sock", "--json", "doctor"];
    let doctor = program(Node::binary("berth")?).args(flags).args(["--config"]).args([&file]);
    let doctor = doctor.args(["--root"]).args([dir.join("root")]);
    doctor.args(["--state"]).args([dir.join("state")]).output()
}

/// The lines of those whose subject begins so.
fn lines(output: &Output, what: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> =
        serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
    Ok(all
        .into_iter()
        .filter(|of| of["what"].as_str().unwrap_or_default().starts_with(what))
        .collect())
}

fn verdict(output: &Output, what: &str) -> Result<String> {
    let lines = lines(output, what)?;
    let line = lines.first().with_context(|| format!("nothing of {what}: {output}"))?;
    Ok(line["verdict"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_machine_that_carries_a_node_is_well_without_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let well = doctor(dir.path(), "")?;
    assert_eq!(well.code, 0, "{well}");
    for what in ["kernel", "overlayfs", "runc", "shim", "root", "folder of the root", "socket"] {
        assert_eq!(verdict(&well, what)?, "ok", "{what}: {well}");
    }
    // What is said of these is the machine's.
    for what in ["cgroups", "open files", "processes", "state"] {
        let told = lines(&well, what)?;
        let [line] = &told[..] else { anyhow::bail!("{what} is not told once: {well}") };
        let (verdict, found, next) = (&line["verdict"], &line["found"], &line["next"]);
        assert!(verdict == "ok" || verdict == "warn", "{line}");
        assert!(found.as_str().is_some_and(|found| !found.is_empty()), "{line}");
        assert_eq!(verdict == "ok", next == "", "{line}");
    }
    assert!(!dir.path().join("root").exists(), "it has made folders");
    let text = program(Node::binary("berth")?).args(["doctor"]).output()?;
    assert!(text.stdout.starts_with("ok    kernel: "), "{text}");
    Ok(())
}

#[test]
fn what_is_wrong_with_a_machine_fails_with_what_to_do() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let runc = doctor(dir.path(), "[runtime]\nbinary = \"/nowhere/runc\"\n")?;
    assert_eq!((runc.code, verdict(&runc, "runc")?.as_str()), (1, "fail"), "{runc}");
    let line = &lines(&runc, "runc")?[0];
    assert_eq!(line["next"], "install runc, or correct [runtime] binary");

    let unknown = doctor(dir.path(), "nonsense = 1\n")?;
    assert_eq!((unknown.code, verdict(&unknown, "configuration")?.as_str()), (1, "fail"));
    assert_eq!(verdict(&unknown, "kernel")?, "ok", "it goes on: {unknown}");

    fs_err::create_dir(dir.path().join("root"))?;
    fs_err::set_permissions(dir.path().join("root"), std::fs::Permissions::from_mode(0o777))?;
    let open = doctor(dir.path(), "")?;
    assert_eq!((open.code, verdict(&open, "folder of the root")?.as_str()), (1, "fail"));
    Ok(())
}

#[test]
fn registries_of_the_configuration_are_asked() -> Result<()> {
    let stage = Stage::new()?;
    let dir = tempfile::tempdir()?;
    let hosts = dir.path().join("certs.d/example.org");
    fs_err::create_dir_all(&hosts)?;
    // A port that was bound, and is not.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let there = stage.registry.host();
    let text = format!("server = \"http://{closed}\"\n[host.\"http://{there}\"]\n");
    fs_err::write(hosts.join("hosts.toml"), text)?;
    let path = dir.path().join("certs.d");
    let config = format!("[distribution.registry]\nconfig_path = [\"{}\"]\n", path.display());
    let asked = doctor(dir.path(), &config)?;
    assert_eq!(asked.code, 0, "a registry that is away is none of the node's: {asked}");
    assert_eq!(verdict(&asked, &format!("registry ({there})"))?, "ok", "{asked}");
    assert_eq!(verdict(&asked, &format!("registry ({closed})"))?, "warn", "{asked}");
    Ok(())
}

#[test]
fn the_disk_is_told_by_namespace_image_and_snapshot() -> Result<()> {
    let stage = Stage::pulled()?;
    // Another image on the same layer.
    let config = json!({"Cmd": ["true"], "Labels": {"another": "one"}});
    let other = Image::build(vec![Layer::busybox()?], config)?.push(&stage.registry, "other:1")?;
    stage.berth(&format!("pull -q {other}"))?;
    stage.berth(&format!("-n apart pull -q {other}"))?;
    let told = stage.json("df")?;
    let row = |kind: &str, namespace: &str, name: &str| -> Result<[u64; 4]> {
        let mut rows = told[kind].as_array().into_iter().flatten();
        let is_it = |row: &&Value| {
            row["namespace"] == namespace && row["name"].as_str().unwrap_or_default().contains(name)
        };
        let row = rows.find(is_it).with_context(|| format!("{kind} {name}: {told}"))?;
        Ok(["blobs", "snapshots", "own", "shared"].map(|key| row[key].as_u64().unwrap_or(0)))
    };
    let files: u64 = fs_err::read_dir(stage.node.path("root/distribution/blobs/sha256"))?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum::<std::io::Result<u64>>()?;
    let [blobs, snapshots, ..] = row("namespaces", "default", "")?;
    assert_eq!(blobs, files, "{told}");
    let [of_image, below, own, shared] = row("images", "default", "busybox")?;
    // The layer is shared, as a blob and as a snapshot; manifest and config are not.
    assert!(own > 0 && own < 4096 && shared > own, "{told}");
    assert_eq!((of_image + below, below), (own + shared, snapshots), "{told}");
    let [apart, _, apart_own, apart_shared] = row("namespaces", "apart", "")?;
    assert_eq!(apart, apart_shared, "all blobs of it are others' too: {told}");
    assert!(apart_own > 0, "its snapshots are its own: {told}");
    assert_eq!(row("snapshots", "default", "overlayfs/")?[2], snapshots);
    assert!(stage.berth("df")?.starts_with("NAMESPACE "));
    Ok(())
}

#[test]
fn what_containers_use_is_told_live_and_once() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.berth(&format!("-n apart pull -q {}", stage.image))?;
    stage.run("-d --name op-busy", "while :; do :; done").output()?.ok()?;
    stage.run("-n apart -d --name op-idle", "sleep 600").output()?.ok()?;
    let told = stage.json("top --once")?;
    let names: Vec<_> = told.as_array().into_iter().flatten().map(|of| of["id"].as_str()).collect();
    assert_eq!(names, [Some("op-busy"), Some("op-idle")], "the busiest is first: {told}");
    assert_eq!(told[1]["namespace"], "apart");
    assert!(told[0]["cpu_percent"].as_f64() > told[1]["cpu_percent"].as_f64(), "{told}");
    assert!(told[0]["memory"].as_u64() > Some(0) && told[0]["pids"] == 1, "{told}");
    let text = stage.berth("top --once")?;
    assert!(text.starts_with("NAMESPACE ") && text.contains("op-busy"), "{text}");
    assert!(stage.berth("top op-busy")?.starts_with("PID "));
    Ok(())
}

#[test]
fn on_a_terminal_what_is_told_live_replaces_what_was() -> Result<()> {
    const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
    let stage = Stage::pulled()?;
    stage.run("-d --name op-shown", "sleep 600").output()?.ok()?;
    let mut top = Session::on_terminal(stage.node.berth("top"), 24, 100)?;
    top.expect("op-shown")?;
    stage.berth("rm -f op-shown")?;
    until("the table is drawn anew without it", Duration::from_secs(60), || {
        let printed = top.printed();
        let last = printed.rsplit(CLEAR).next().unwrap_or_default().to_owned();
        last.contains("NAMESPACE") && last.contains("WRITTEN") && !last.contains("op-shown")
    })?;
    top.write("\u{3}")?;
    top.end()?;
    assert!(top.printed().matches(CLEAR).count() >= 2, "{}", top.printed());
    Ok(())
}

#[test]
fn a_call_is_written_down_while_it_waits() -> Result<()> {
    const WAIT: &str = "/containerd.services.tasks.v1.Tasks/Wait: runs ";
    let stage = Stage::pulled()?;
    let node = &stage.node;
    stage.run("-d --name op-waits", "sleep 600").output()?.ok()?;
    let waits = |service: &str| -> Result<bool> {
        let told = crate::plugins::tasks(node, service)?;
        Ok(told.lines().any(|line| line.starts_with(WAIT)))
    };
    let services = ["berth-runtime", "berth-gateway"];
    for service in services {
        assert!(!waits(service)?, "{service}");
    }
    let mut client = Session::start(node.berth("wait op-waits"))?;
    for service in services {
        let told = || waits(service).unwrap_or(false);
        until(&format!("{service} tells the call"), Duration::from_secs(60), told)?;
    }
    stage.berth("kill op-waits")?;
    assert_eq!(client.end()?, 0, "{}", client.printed());
    for service in services {
        let gone = || !waits(service).unwrap_or(true);
        until(&format!("{service} tells it no more"), Duration::from_secs(60), gone)?;
    }
    stage.berth("rm op-waits").map(drop)
}
