//! The node held against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use berth_testkit::{Node, program, until};

use crate::model::Model;

/// How long what a restarted service does in the background may take.
const SETTLES: Duration = Duration::from_secs(60);

/// Everything that has to hold after each kill.
pub fn all(node: &Node, model: &mut Model) -> Result<()> {
    images(node, model)?;
    containers(node, model)?;
    tasks(node, model)?;
    exits(node, model)?;
    snapshots(node, model)?;
    blobs(node, model)?;
    processes(node, model)?;
    node.fsck()
}

/// Every image is there and unpacked; every image that is listed, acknowledged or not, has all its
/// blobs.
fn images(node: &Node, model: &Model) -> Result<()> {
    let text = node.ctr("images check").output()?.ok()?;
    for image in &model.images {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(image));
        let line = line.with_context(|| format!("image {image} was lost:\n{text}"))?;
        ensure!(line.trim_end().ends_with(" true"), "not unpacked any more: {line}");
    }
    for line in text.lines().skip(1) {
        ensure!(line.contains(" complete "), "not complete: {line}");
    }
    Ok(())
}

/// What an image that was pulled shows is what was pushed: `marker` holds the number in its name.
pub fn content(node: &Node, model: &Model) -> Result<()> {
    for image in &model.images {
        let Some((_, number)) = image.split_once("/image-") else { continue };
        let number = number.trim_end_matches(":1");
        let run = format!("run --rm --net none {image} cat /marker");
        let marker = node.berth(&run).output()?.ok()?;
        ensure!(marker == number, "the marker of {image} is {marker:?}");
    }
    Ok(())
}

/// The containers are those of the model: none was lost, and none is there that was removed or
/// never acknowledged.
fn containers(node: &Node, model: &Model) -> Result<()> {
    let text = node.ctr("containers ls -q").output()?.ok()?;
    let there: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    let want = model.containers();
    ensure!(there == want, "containers are {there:?}, not {want:?}");
    Ok(())
}

/// Every container has its task, in the state that it has to be in.
fn tasks(node: &Node, model: &mut Model) -> Result<()> {
    // A shim that does not answer in time, as on a busy machine, has a task of which nothing is known.
    let mut tasks = listed(node)?;
    until("each task is known", SETTLES, || {
        let known = tasks.values().all(|(_, status)| status != "UNKNOWN");
        if !known && let Ok(now) = listed(node) {
            tasks = now;
        }
        known
    })
    .with_context(|| format!("tasks are {:?}", listed(node)))?;
    for (name, known) in &mut model.running {
        let (pid, status) = tasks.get(name).with_context(|| format!("no task: {name}"))?;
        ensure!(status == "RUNNING", "container {name} is {status}");
        match known {
            Some(known) => ensure!(known == pid, "container {name}: process {known} is {pid}"),
            None => *known = Some(*pid),
        }
        let there = std::path::Path::new(&format!("/proc/{pid}")).exists();
        ensure!(there, "container {name}: there is no process {pid}");
    }
    let have: BTreeSet<_> = tasks.keys().cloned().collect();
    let want = model.containers();
    ensure!(have == want, "tasks are {have:?}, not {want:?}");
    Ok(())
}

/// The tasks that ctr lists: process and status.
fn listed(node: &Node) -> Result<BTreeMap<String, (u32, String)>> {
    let text = node.ctr("tasks ls").output()?.ok()?;
    let mut tasks = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(pid), Some(status)) = (words.next(), words.next(), words.next())
        else {
            bail!("not a line of tasks: {line}");
        };
        tasks.insert(name.to_owned(), (pid.parse()?, status.to_owned()));
    }
    Ok(tasks)
}

/// The node tells how each program ended.
fn exits(node: &Node, model: &mut Model) -> Result<()> {
    for (name, ending) in model.ending.iter_mut().filter(|(_, ending)| !ending.asked) {
        let told = node.berth(&format!("wait {name}")).output()?.ok()?;
        let code = ending.code;
        ensure!(told.trim() == code.to_string(), "{name} ended with {code}, not {told}");
        ending.asked = true;
    }
    Ok(())
}

/// Every container has its snapshot, and every snapshot that is listed can be measured.
fn snapshots(node: &Node, model: &Model) -> Result<()> {
    let told = |line: &str| -> Result<BTreeSet<String>> {
        let text = node.ctr(line).output()?.ok()?;
        let keys = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        Ok(keys.map(str::to_owned).collect())
    };
    let keys = told("snapshots ls")?;
    for name in model.containers() {
        ensure!(keys.contains(&name), "the snapshot of {name} was lost: {keys:?}");
    }
    for key in keys {
        let measured = node.ctr(&format!("snapshots usage {key}")).output()?;
        // What was removed may have been collected in between, nothing else.
        if measured.code != 0 {
            ensure!(!told("snapshots ls")?.contains(&key), "snapshot {key}: {measured}");
        }
    }
    Ok(())
}

/// Every blob that is listed has its digest.
fn blobs(node: &Node, model: &mut Model) -> Result<()> {
    let text = node.ctr("content ls -q").output()?.ok()?;
    let fresh: Vec<_> = text.lines().filter(|digest| !model.hashed.contains(*digest)).collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let folder = node.path("root/distribution/blobs");
    let files = fresh.iter().map(|digest| folder.join(digest.replace(':', "/")));
    let sums = program("sha256sum").args(files).output()?.stdout;
    let mut seen = BTreeSet::new();
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").context("a line of sha256sum")?;
        ensure!(path.ends_with(sum), "{path} has the digest {sum}");
        seen.insert(format!("sha256:{sum}"));
    }
    // What is not there any more has been collected since it was listed.
    let listed = node.ctr("content ls -q").output()?.ok()?;
    let lost = |digest: &&&str| !seen.contains(**digest) && listed.lines().any(|l| l == **digest);
    let lost: Vec<_> = fresh.iter().filter(lost).collect();
    ensure!(lost.is_empty(), "listed, and not there: {lost:?}");
    model.hashed.extend(seen);
    Ok(())
}

/// One shim and one mount for each task, and no other.
fn processes(node: &Node, model: &Model) -> Result<()> {
    let want = model.containers();
    let shims = || node.shims().len() == want.len();
    until("each task has one shim", SETTLES, shims)
        .with_context(|| format!("{} shims for {want:?}", node.shims().len()))?;
    let tasks = node.path("state/runtime/default");
    let roots: BTreeSet<_> =
        want.iter().map(|name| tasks.join(name).join("rootfs").display().to_string()).collect();
    let mounted = || node.mounts().into_iter().collect::<BTreeSet<_>>() == roots;
    until("each task has its root mounted", SETTLES, mounted)
        .with_context(|| format!("mounts are {:?}", node.mounts()))
}
