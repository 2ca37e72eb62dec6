//! The stores and shims of the previous landing below the services of this one, and services of both
//! beside each other: what an upgrade is on its way.
//!
//! `make test-skew` builds the programs of the commit in `PREVIOUS` and says where they are; `make test`
//! does not run these, since they take a second build and the repository's history. Needs root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Node, Registry, until};

const SERVICES: [&str; 4] =
    ["berth-gateway", "berth-distribution", "berth-bundle", "berth-runtime"];
const OTHERS: [&str; 3] = ["berth", "berthd", "containerd-shim-runc-v2"];
/// How long a service that was exchanged may take to serve.
const SOON: Duration = Duration::from_secs(60);

fn folder(variable: &str) -> Result<PathBuf> {
    let folder = std::env::var_os(variable);
    Ok(folder.with_context(|| format!("{variable} is not set, run `make test-skew`"))?.into())
}

/// Puts a program where the node's are, as packages do: what runs is not touched.
fn install(from: &Path, program: &str) -> Result<()> {
    let to = folder("BERTH_BIN_DIR")?;
    fs_err::create_dir_all(&to)?;
    let (new, to) = (to.join("new"), to.join(program));
    berth_testkit::write_program(&new, fs_err::read(from.join(program))?)?;
    Ok(fs_err::rename(new, to)?)
}

fn install_all(from: &Path) -> Result<()> {
    SERVICES.iter().chain(&OTHERS).try_for_each(|program| install(from, program))
}

/// The programs of this landing are beside this test.
fn present() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(2).context("the test is not below target/PROFILE/deps")?.to_owned())
}

/// A node of the previous landing, with an image and a container that runs.
fn previous(id: &str) -> Result<(Node, Registry, String)> {
    install_all(&folder("BERTH_PREVIOUS")?)?;
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    berth(&node, &format!("pull -q {image}"))?;
    berth(&node, &format!("run -d --name {id} {image} sleep 3600"))?;
    Ok((node, registry, image))
}

/// Whether a process runs the program that is in place now, and not the one before it.
fn is_present(pid: u32, program: &str) -> bool {
    let running = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    folder("BERTH_BIN_DIR").is_ok_and(|bin| running == bin.join(program))
}

fn berth(node: &Node, line: &str) -> Result<String> {
    node.berth(line).output()?.ok()
}

fn ctr(node: &Node, line: &str) -> Result<String> {
    node.ctr(line).output()?.ok()
}

fn answers(node: &Node, id: &str) -> Result<()> {
    let said = berth(node, &format!("exec {id} echo inside"))?;
    ensure!(said == "inside\n", "{said}");
    Ok(())
}

/// What is on record, as clients list it.
fn records(node: &Node) -> Result<Vec<String>> {
    ["images ls", "content ls -q", "snapshots ls", "leases ls", "namespaces ls", "containers ls"]
        .iter()
        .map(|list| ctr(node, list))
        .collect()
}

#[test]
fn all_that_the_previous_landing_left_is_there_and_goes_on() -> Result<()> {
    let (mut node, _registry, image) = previous("skew-runs")?;
    let ends = "until [ -e /end ]; do sleep 0.1; done; exit 7";
    for (name, script) in [("skew-ends", ends), ("skew-held", "sleep 3600")] {
        let run = node.berth(&format!("run -d --name {name} {image} sh -c")).args([script]);
        run.output()?.ok()?;
    }
    berth(&node, "pause skew-held")?;
    ctr(&node, "leases create --id skew-lease a=b")?;
    ctr(&node, "snapshots prepare skew-own")?;
    ctr(&node, "namespaces create skew-other x=y")?;
    ctr(&node, &format!("images label {image} k=v"))?;
    let before = records(&node)?;
    ensure!(node.stop()? == Some(0), "the node does not end well");

    install_all(&present()?)?;
    node.start_berthd()?;
    ensure!(records(&node)? == before, "{before:#?}\n{:#?}", records(&node)?);
    answers(&node, "skew-runs")?;
    ensure!(ctr(&node, "tasks ls")?.contains("PAUSED"), "what was paused is not");
    berth(&node, "unpause skew-held")?;
    answers(&node, "skew-held")?;
    berth(&node, "exec skew-ends touch /end")?;
    ensure!(berth(&node, "wait skew-ends")?.trim() == "7", "another end");
    berth(&node, "logs skew-ends")?;
    berth(&node, "kill -s TERM skew-held")?;
    let used = berth(&node, "stats --no-stream")?;
    ensure!(used.contains("skew-runs") && used.contains("skew-held"), "{used}");
    ensure!(berth(&node, &format!("run --rm {image} echo new"))? == "new\n", "no new container");
    node.fsck()?;
    berth(&node, "rm -f skew-runs skew-ends skew-held")?;
    node.shims_end()?;
    berth(&node, "gc")?;
    node.fsck()?;
    ensure!(node.stop()? == Some(0), "the node does not end well");
    node.start_berthd()?;
    ensure!(berth(&node, "images -q")?.trim() == image, "the image is gone");
    Ok(())
}

#[test]
fn services_are_exchanged_one_by_one() -> Result<()> {
    for reversed in [false, true] {
        let id = if reversed { "skew-reverse" } else { "skew-order" };
        let (mut node, _registry, image) = previous(id)?;
        let mut services = SERVICES;
        if reversed {
            services.reverse();
        }
        for service in services {
            install(&present()?, service)?;
            node.kill_service(service)?;
            let runs = || node.service_pid(service).is_ok_and(|pid| is_present(pid, service));
            until(&format!("{service} of this landing runs"), SOON, runs)?;
            let back = || node.berth("info").output().is_ok_and(|said| said.code == 0);
            until("the node serves", SOON, back)?;
            answers(&node, id)?;
            let said = berth(&node, &format!("run --rm {image} echo mixed"))?;
            ensure!(said == "mixed\n", "{service}: {said}");
            berth(&node, &format!("rmi -f {image}"))?;
            berth(&node, &format!("pull -q {image}"))?;
        }
        install_all(&present()?)?;
        ensure!(node.stop()? == Some(0), "the node does not end well");
        node.start_berthd()?;
        answers(&node, id)?;
        node.fsck()?;
        berth(&node, &format!("rm -f {id}"))?;
        node.shims_end()?;
    }
    Ok(())
}
