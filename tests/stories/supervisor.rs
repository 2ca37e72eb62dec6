//! The bundle as a whole: starting twice, stopping, what lives on.
//!
//! Container names differ between stories: nodes on one machine share its cgroups, and a container's
//! cgroup is named by namespace and id alone, as with containerd.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_proto::containerd::events::TaskExit;
use berth_proto::unpack;
use berth_testkit::{Image, Node, Registry, Signal, program, until};

#[test]
fn a_second_supervisor_on_the_same_root_is_refused() -> Result<()> {
    let node = Node::start()?;
    let second = program(Node::binary("berthd")?)
        .args(["--root"])
        .args([node.path("root")])
        .args(["--state"])
        .args([node.path("state")])
        .args(["--address"])
        .args([node.path("other.sock")])
        .output()?;
    assert_eq!(second.code, 1, "{second}");
    assert!(second.stderr.contains(&node.berthd_pid()?.to_string()), "{second}");
    node.berth("version").output()?.ok()?;
    node.fsck()
}

#[test]
fn containers_outlive_the_bundle_and_are_found_again() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let mut node = Node::start()?;
    node.berth(&format!("run -d --name long {image} sleep 600")).output()?.ok()?;
    node.berth(&format!("run -d --name short {image} sh -c"))
        .args(["sleep 1; exit 3"])
        .output()?
        .ok()?;

    assert_eq!(node.stop()?, Some(0));
    assert_eq!(node.shims().len(), 2, "shims live on");
    node.start_berthd()?;
    assert_eq!(node.berth("exec long echo alive").output()?.ok()?, "alive\n");
    assert_eq!(node.berth("wait short").output()?.ok()?.trim(), "3");

    node.kill_berthd()?;
    node.start_berthd()?;
    assert_eq!(node.berth("exec long echo alive").output()?.ok()?, "alive\n");
    node.fsck()?;
    node.berth("rm -f long short").output()?.ok()?;
    node.shims_end()?;
    node.fsck()
}

/// The exits that runtime has told of since its last start: of whom, and with which status.
fn exits(node: &Node) -> Result<Vec<(String, u32)>> {
    let told = crate::wire::told(node, "runtime")?;
    let exits = told.iter().filter(|event| event.topic == "/tasks/exit").map(|event| {
        let exit: TaskExit =
            unpack(event.event.as_ref().context("no event")?).context("none")??;
        Ok((exit.container_id, exit.exit_status))
    });
    let mut exits = exits.collect::<Result<Vec<_>>>()?;
    exits.sort();
    Ok(exits)
}

#[test]
fn what_ended_while_the_node_was_killed_is_told_once() -> Result<()> {
    let mut stage = crate::stage::Stage::pulled()?;
    let shared = tempfile::tempdir()?;
    let options =
        format!("-d --name sup-ends --mount type=bind,src={},dst=/go", shared.path().display());
    let script = "until test -e /go/end; do sleep 0.1; done; exit 3";
    stage.run(&options, script).output()?.ok()?;
    stage.run("-d --name sup-shot", "exec sleep 600").output()?.ok()?;
    let pid = |name: &str| -> Result<u32> {
        let told = stage.json(&format!("inspect {name}"))?;
        Ok(u32::try_from(told[0]["pid"].as_u64().context("no pid")?)?)
    };
    let pids = [pid("sup-ends")?, pid("sup-shot")?];
    assert_eq!(exits(&stage.node)?, []);

    stage.node.kill_berthd()?;
    fs_err::write(shared.path().join("end"), "")?;
    berth_testkit::signal(pids[1], Signal::KILL)?;
    let gone = || !pids.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists());
    until("both have ended", Duration::from_secs(60), gone)?;
    stage.node.start_berthd()?;
    let statuses = |stage: &crate::stage::Stage| stage.berth("wait sup-ends sup-shot");
    assert_eq!(statuses(&stage)?, "3\n137\n");
    let expected = [("sup-ends".to_owned(), 3), ("sup-shot".to_owned(), 137)];
    let told = || exits(&stage.node).is_ok_and(|told| told.len() >= 2);
    until("the exits are told", Duration::from_secs(60), told)?;
    assert_eq!(exits(&stage.node)?, expected);

    // They are known, and told no more, also by one that finds them again.
    stage.node.kill_berthd()?;
    stage.node.start_berthd()?;
    assert_eq!(statuses(&stage)?, "3\n137\n");
    stage.berth("rm sup-ends sup-shot")?;
    // What is told of a task comes in order, and its removal last.
    let removed = || -> Result<usize> {
        let told = crate::wire::told(&stage.node, "runtime")?;
        Ok(told.iter().filter(|event| event.topic == "/tasks/delete").count())
    };
    until("the removals are told", Duration::from_secs(60), || matches!(removed(), Ok(2)))?;
    assert_eq!(exits(&stage.node)?, []);
    stage.node.shims_end()?;
    stage.node.fsck()
}

/// A plugin that is required may be that of a service that is away by then.
#[test]
fn a_gateway_that_is_started_again_serves_without_what_the_start_required() -> Result<()> {
    let required = "required_plugins = [\"io.containerd.snapshotter.v1.overlayfs\"]";
    let node = Node::start_with(&format!("[gateway]\n{required}\n"))?;
    node.signal_service("berth-bundle", Signal::STOP)?;
    let killed = node.service_pid("berth-gateway")?;
    node.kill_service("berth-gateway")?;
    let serves = || {
        node.service_pid("berth-gateway").is_ok_and(|pid| pid != killed)
            && node.berth("version").output().is_ok_and(|told| told.code == 0)
    };
    let served = until("the gateway serves again", Duration::from_secs(60), serves);
    node.signal_service("berth-bundle", Signal::CONT)?;
    served?;
    node.fsck()
}

#[test]
fn a_service_that_does_not_answer_holds_up_its_own_calls_only() -> Result<()> {
    let stage = crate::stage::Stage::pulled()?;
    let node = &stage.node;
    stage.run("-d --name sup-stuck", "sleep 600").output()?.ok()?;
    node.signal_service("berth-distribution", Signal::STOP)?;
    let late = node.ctr("--timeout 1s images ls").output()?;
    assert_eq!(late.code, 1, "{late}");
    assert!(late.stderr.contains("context deadline exceeded"), "{late}");
    for line in ["containers ls", "tasks ls", "snapshots ls"] {
        node.ctr(&format!("--timeout 20s {line}")).output()?.ok()?;
    }
    assert_eq!(node.berth("exec sup-stuck echo alive").output()?.ok()?, "alive\n");
    node.signal_service("berth-distribution", Signal::CONT)?;
    assert!(stage.ctr("images ls -q")?.contains(&stage.image));
    stage.berth("rm -f sup-stuck")?;
    node.fsck()
}

#[test]
fn each_service_comes_back_alone() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    node.berth(&format!("run -d --name steady {image} sleep 600")).output()?.ok()?;
    for service in ["berth-distribution", "berth-bundle", "berth-runtime", "berth-gateway"] {
        let before = node.service_pid(service)?;
        node.kill_service(service)?;
        until("it is started again", Duration::from_secs(60), || {
            node.service_pid(service).is_ok_and(|pid| pid != before)
        })?;
        until(
            "exec works",
            Duration::from_secs(60),
            || matches!(node.berth("exec steady echo ok").output(), Ok(out) if out.stdout == "ok\n"),
        )?;
        assert_eq!(
            node.berth(&format!("run --rm {image} echo new")).output()?.ok()?,
            "new\n",
            "{service}"
        );
        node.fsck()?;
    }
    node.berth("rm -f steady").output()?.ok()?;
    node.fsck()
}
