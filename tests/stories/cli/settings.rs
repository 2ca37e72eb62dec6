//! How a container is made and run: its program, names, network, snapshotter, shim.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Family, Image, Layer, Node, Recipe, program, until, write_program};
use serde_json::{Value, json};

use crate::stage::Stage;

#[test]
fn an_entrypoint_is_replaced_and_taken_away() -> Result<()> {
    let stage = Stage::new()?;
    let config = json!({"Entrypoint": ["/bin/echo", "image"], "Cmd": ["command"]});
    let image = Image::build(vec![Layer::busybox()?], config)?.push(&stage.registry, "entry:1")?;
    let run = |options: &[&str], command: &[&str]| -> Result<String> {
        let run = stage.node.berth("run --rm").args(options).args([&image]).args(command);
        Ok(run.output()?.ok()?.trim().to_owned())
    };
    assert_eq!(run(&[], &[])?, "image command");
    assert_eq!(run(&[], &["typed"])?, "image typed");
    assert_eq!(run(&["--entrypoint", "/bin/echo own"], &[])?, "own");
    assert_eq!(run(&["--entrypoint", "/bin/echo"], &["a", "b"])?, "a b");
    assert_eq!(run(&["--entrypoint", ""], &["sh", "-c", "echo bare"])?, "bare");
    Ok(())
}

#[test]
fn a_container_is_on_the_hosts_network_or_on_none() -> Result<()> {
    let stage = Stage::pulled()?;
    let host = fs_err::read_link("/proc/self/ns/net")?.display().to_string();
    let script = "readlink /proc/self/ns/net; ls /sys/class/net; \
                  grep -c ' /etc/resolv.conf ' /proc/self/mountinfo; true";
    let run = |options: &str| stage.run(&format!("--rm {options}"), script).output()?.ok();
    let (joined, none) = (run("--net host")?, run("--net none")?);
    assert_eq!(joined.lines().next(), Some(host.as_str()));
    assert_eq!(joined.lines().last(), Some("1"), "the host's names are looked up: {joined}");
    let none: Vec<_> = none.lines().collect();
    assert_ne!(none[0], host);
    assert_eq!(none[1..], ["lo", "0"]);
    Ok(())
}

#[test]
fn the_node_is_where_containerds_clients_are_told_that_it_is() -> Result<()> {
    let node = Node::start()?;
    let says = |address: &Path| {
        let berth = program(Node::binary("berth")?).env("CONTAINERD_ADDRESS", address);
        berth.args(["--json", "version"]).output()
    };
    let told = says(&node.address())?.ok()?;
    assert!(told.contains("\"server\""), "{told}");
    let nowhere = says(Path::new("/nowhere.sock"))?.fails(1)?;
    assert!(nowhere.contains("cannot reach berth at /nowhere.sock"), "{nowhere}");
    // What is typed goes before it.
    node.berth("version").env("CONTAINERD_ADDRESS", "/nowhere.sock").output()?.ok()?;
    Ok(())
}

/// An image cannot ask to be started again, nor to be kept.
#[test]
fn labels_of_an_image_are_no_orders() -> Result<()> {
    let stage = Stage::new()?;
    let orders = json!({"containerd.io/restart.status": "running", "containerd.io/gc.root": "1"});
    let image = Image::build(vec![Layer::busybox()?], json!({"Labels": orders, "Cmd": ["true"]}))?;
    let image = image.push(&stage.registry, "orders:1")?;
    stage.berth(&format!("run -d --name set-orders {image}"))?;
    let given = |inspected: &Value| -> Vec<String> {
        let labels = inspected[0]["labels"].as_object().into_iter().flatten();
        let orders = labels.filter(|(key, _)| orders.get(key).is_some());
        orders.map(|(key, _)| key.clone()).collect()
    };
    assert_eq!(given(&stage.json("inspect set-orders")?), Vec::<String>::new());
    assert_eq!(given(&stage.json("images")?), Vec::<String>::new());
    let blobs = stage.ctr("content ls")?;
    assert!(!blobs.contains("restart.status") && !blobs.contains("gc.root"), "{blobs}");
    stage.berth("rm -f set-orders")?;
    Ok(())
}

#[test]
fn labels_and_annotations_are_kept() -> Result<()> {
    let stage = Stage::pulled()?;
    let options = "-d --name set-labels -l team=a --label other=b --annotation org.example/x=y";
    stage.run(options, "sleep 600").output()?.ok()?;
    let inspected = stage.json("inspect set-labels")?;
    assert_eq!(inspected[0]["labels"]["team"], "a", "{inspected}");
    assert_eq!(inspected[0]["labels"]["other"], "b", "{inspected}");
    // Annotations are the runtime's to see.
    let spec = stage.node.path("state/runtime/default/set-labels/config.json");
    let spec: Value = serde_json::from_str(&fs_err::read_to_string(spec)?)?;
    assert_eq!(spec["annotations"]["org.example/x"], "y");
    stage.berth("rm -f set-labels")?;
    Ok(())
}

#[test]
fn a_stop_sends_the_signal_that_was_asked_for_and_kills_in_the_end() -> Result<()> {
    let stage = Stage::pulled()?;
    let script = "trap 'exit 5' USR1; trap '' TERM; echo up; while :; do sleep 0.05; done";
    let start = |name: &str, options: &str| -> Result<()> {
        stage.run(&format!("-d --name {name} {options}"), script).output()?.ok()?;
        until("the program runs", Duration::from_secs(20), || {
            let logs = stage.node.berth(&format!("logs {name}")).output();
            logs.is_ok_and(|out| out.stdout == "up\n")
        })
    };
    start("set-asked", "--stop-signal USR1")?;
    stage.berth("stop -t 60 set-asked")?;
    assert_eq!(stage.berth("wait set-asked")?, "5\n");
    start("set-deaf", "")?;
    stage.berth("stop -t 1 set-deaf")?;
    assert_eq!(stage.berth("wait set-deaf")?, "137\n");
    stage.berth("rm set-asked set-deaf")?;
    Ok(())
}

#[test]
fn images_are_pulled_again_when_that_is_asked_for() -> Result<()> {
    let stage = Stage::new()?;
    let version = |text: &str| -> Result<String> {
        let file = Layer::default().file("version", 0o644, text.as_bytes())?;
        let config = json!({"Cmd": ["cat", "/version"]});
        Image::build(vec![Layer::busybox()?, file], config)?.push(&stage.registry, "moving:1")
    };
    let image = version("one")?;
    let run = |pull: &str| stage.node.berth(&format!("run --rm {pull} {image}")).output();
    assert!(run("--pull never")?.fails(125)?.contains("not found"));
    assert_eq!(run("")?.ok()?, "one");
    version("two")?;
    assert_eq!(run("")?.ok()?, "one");
    assert_eq!(run("--pull never")?.ok()?, "one");
    assert_eq!(run("--pull always")?.ok()?, "two");
    Ok(())
}

#[test]
fn the_platform_that_is_asked_for_is_run() -> Result<()> {
    let stage = Stage::new()?;
    let one = |architecture: &'static str| -> Result<Image> {
        let file = Layer::default().file("for", 0o644, architecture.as_bytes())?;
        let recipe = Recipe { architecture, ..Recipe::default() };
        // The programs are this machine's in both.
        Image::build_as(&recipe, vec![Layer::busybox()?, file], json!({"Cmd": ["cat", "/for"]}))
    };
    let both = Image::index(Family::Oci, &[one("amd64")?, one("arm64")?])?;
    let image = both.push(&stage.registry, "both:1")?;
    assert_eq!(stage.berth(&format!("run --rm --platform linux/arm64 {image}"))?, "arm64");
    let here = stage.node.berth(&format!("run --rm --pull never {image}")).output()?;
    assert!(here.fails(125)?.contains("nothing here for linux/amd64"));
    assert_eq!(stage.berth(&format!("run --rm --pull always {image}"))?, "amd64");
    stage.berth(&format!("pull --platform arm64 {image}"))?;
    assert_eq!(stage.berth(&format!("run --rm --platform linux/arm64 {image}"))?, "arm64");
    Ok(())
}

#[test]
fn a_container_is_made_by_the_snapshotter_that_is_asked_for() -> Result<()> {
    let stage = Stage::pulled()?;
    let options = "-d --name set-native --snapshotter native";
    stage.run(options, "echo kept > /kept; echo up; sleep 600").output()?.ok()?;
    let inspected = stage.json("inspect set-native")?;
    assert_eq!(inspected[0]["snapshotter"], "native");
    assert!(stage.ctr("snapshots --snapshotter native ls")?.contains("set-native"));
    assert!(!stage.ctr("snapshots --snapshotter overlayfs ls")?.contains("set-native"));
    until("the program runs", Duration::from_secs(20), || {
        stage.node.berth("logs set-native").output().is_ok_and(|out| out.stdout == "up\n")
    })?;
    let root = stage.berth("exec set-native grep -m1 -w / /proc/self/mounts")?;
    assert!(!root.starts_with("overlay"), "{root}");
    // What it wrote is in the snapshot's own folder.
    let mounts = stage.ctr("snapshots --snapshotter native mounts /x set-native")?;
    let mut words = mounts.split_whitespace();
    let folder = words.find(|word| word.starts_with('/')).context("no folder")?;
    let written = std::path::Path::new(folder).join("kept");
    assert_eq!(fs_err::read_to_string(written)?, "kept\n");
    stage.berth("rm -f set-native")?;
    assert!(!stage.ctr("snapshots --snapshotter native ls")?.contains("set-native"));
    Ok(())
}

#[test]
fn a_container_is_run_by_the_shim_that_is_asked_for() -> Result<()> {
    let stage = Stage::pulled()?;
    let own = Node::binary("containerd-shim-runc-v2")?;
    let other = stage.node.path("containerd-shim-other-v1");
    write_program(&other, fs_err::read(&own)?)?;
    let shim = || -> Result<String> {
        let shims = stage.node.shims();
        let [shim] = shims[..] else { anyhow::bail!("shims: {shims:?}") };
        Ok(fs_err::read_link(format!("/proc/{shim}/exe"))?.display().to_string())
    };
    stage.run("-d --name set-own", "sleep 600").output()?.ok()?;
    assert_eq!(shim()?, fs_err::canonicalize(own)?.display().to_string());
    stage.berth("rm -f set-own")?;
    stage.node.shims_end()?;
    let options = format!("-d --name set-other --runtime {}", other.display());
    stage.run(&options, "sleep 600").output()?.ok()?;
    assert_eq!(shim()?, other.display().to_string());
    stage.berth("rm -f set-other")?;
    let none = stage.run("--rm --runtime io.example.none.v9", "true").output()?;
    assert!(none.fails(125)?.contains("containerd-shim-none-v9"));
    Ok(())
}

#[test]
fn a_log_is_written_where_that_is_asked_for() -> Result<()> {
    let stage = Stage::pulled()?;
    let log = stage.node.path("elsewhere/own.log");
    let options = format!("-d --name set-log --log-path {}", log.display());
    stage.run(&options, "echo said").output()?.ok()?;
    stage.berth("wait set-log")?;
    assert_eq!(stage.berth("logs set-log")?, "said\n");
    let written = fs_err::read_to_string(&log)?;
    assert!(written.ends_with(" stdout F said\n"), "{written}");
    assert!(!stage.node.path("logs/default/set-log").exists());
    stage.berth("rm set-log")?;
    assert!(!log.exists());
    Ok(())
}

#[test]
fn namespaces_do_not_see_each_other() -> Result<()> {
    let stage = Stage::pulled()?;
    let image = &stage.image;
    let unseen = stage.node.berth(&format!("-n set-team run --rm --pull never {image} true"));
    assert!(unseen.output()?.fails(125)?.contains("not found in namespace set-team"));
    stage.berth(&format!("-n set-team run -d --name set-there {image} sleep 600"))?;
    assert_eq!(stage.berth("ps -q")?, "");
    assert_eq!(stage.berth("ps -q --namespace set-team")?, "set-there\n");
    assert_eq!(stage.berth("-n set-team exec set-there echo in")?, "in\n");
    assert!(stage.node.path("state/runtime/set-team/set-there").exists());
    stage.node.berth("rm -f set-there").output()?.fails(1)?;
    stage.berth("-n set-team rm -f set-there")?;
    stage.berth(&format!("-n set-team rmi {image}"))?;
    assert_eq!(stage.berth("images -q")?, format!("{image}\n"));
    // runc leaves the folder of a namespace's cgroups behind, one for each controller.
    let root = std::path::Path::new("/sys/fs/cgroup");
    for folder in fs_err::read_dir(root)?.flatten().map(|of| of.path()).chain([root.to_owned()]) {
        let cgroup = folder.join("set-team");
        if cgroup.is_dir() && !folder.is_symlink() {
            fs_err::remove_dir(cgroup)?;
        }
    }
    Ok(())
}
