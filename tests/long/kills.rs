//! kill -9 of services at seeded random moments while pulls, runs and execs go on.
//!
//! After each kill a model is compared with the node: what was acknowledged is there, running
//! containers run, nothing half-done shows. At the end nothing is left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_testkit::{Image, Layer, Node, Registry, until};

const VICTIMS: [&str; 5] =
    ["berth-gateway", "berth-distribution", "berth-bundle", "berth-runtime", "berthd"];

/// A small generator of our own: the sequence is the seed's alone.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What the node has acknowledged.
#[derive(Default)]
struct Model {
    images: BTreeSet<String>,
    running: BTreeSet<String>,
}

#[test]
fn nothing_acknowledged_is_lost_when_services_are_killed() -> Result<()> {
    let seed = std::env::var("BERTH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |time| time.as_micros() as u64 | 1)
    });
    let rounds: u32 = std::env::var("BERTH_KILLS").ok().and_then(|s| s.parse().ok()).unwrap_or(40);
    eprintln!("BERTH_SEED={seed} BERTH_KILLS={rounds} (rounds of {} victims)", VICTIMS.len());
    let mut random = Random(seed);
    let registry = Registry::start()?;
    let mut node = Node::start()?;
    let mut model = Model::default();
    let base = Image::busybox()?.push(&registry, "busybox:1")?;
    node.berth(&format!("pull {base}")).output()?.ok()?;
    model.images.insert(base.clone());

    for round in 0..rounds {
        for victim in VICTIMS {
            let wait = Duration::from_millis(random.below(250));
            one_kill(&mut node, &registry, &mut model, &base, victim, wait, round)?;
            compare(&node, &model)?;
        }
        if model.running.len() > 4 {
            remove_one(&node, &mut model)?;
        }
    }
    while !model.running.is_empty() {
        remove_one(&node, &mut model)?;
    }
    until("shims end", Duration::from_secs(10), || node.shims().is_empty())?;
    ensure!(node.mounts().is_empty(), "mounts are left: {:?}", node.mounts());
    Ok(())
}

/// Starts a pull, a run and an exec, kills the victim after `wait`, notes what was acknowledged.
fn one_kill(
    node: &mut Node,
    registry: &Registry,
    model: &mut Model,
    base: &str,
    victim: &str,
    wait: Duration,
    round: u32,
) -> Result<()> {
    let tag = format!("{victim}-{round}");
    let marker = Layer::default().file("marker", 0o644, tag.as_bytes())?;
    let image = Image::build(vec![Layer::busybox()?, marker], serde_json::json!({}))?
        .push(registry, &format!("{tag}:1"))?;
    let pull = node.berth(&format!("pull {image}"));
    let start = node.berth(&format!("run -d --name {tag} {base} sleep 6000"));
    let exec = model.running.first().map(|name| node.berth(&format!("exec {name} true")));
    let work = std::thread::spawn(move || {
        (pull.output(), start.output(), exec.map(berth_testkit::Run::output))
    });
    // The moment of the kill is the random choice that the test is about.
    std::thread::sleep(wait);
    if victim == "berthd" {
        node.kill_berthd()?;
        node.start_berthd()?;
    } else {
        node.kill_service(victim)?;
    }
    let Ok((pull, start, _exec)) = work.join() else { anyhow::bail!("a client panicked") };
    if pull?.code == 0 {
        model.images.insert(image);
    }
    if start?.code == 0 {
        model.running.insert(tag);
    } else {
        let answers = || node.berth("version").output().is_ok_and(|out| out.code == 0);
        until("the node answers", Duration::from_secs(20), answers)?;
        let _ = node.berth(&format!("rm -f {tag}")).output()?;
    }
    Ok(())
}

/// Holds the node against the model.
fn compare(node: &Node, model: &Model) -> Result<()> {
    let images = node.ctr("images ls -q").output()?.ok()?;
    for image in &model.images {
        ensure!(images.lines().any(|line| line == image), "image {image} was lost: {images}");
    }
    let tasks = node.ctr("tasks ls").output()?.ok()?;
    for name in &model.running {
        let runs = |line: &str| line.starts_with(name.as_str()) && line.contains("RUNNING");
        ensure!(tasks.lines().any(runs), "container {name} does not run: {tasks}");
    }
    ensure!(node.shims().len() >= model.running.len(), "a shim is gone");
    Ok(())
}

fn remove_one(node: &Node, model: &mut Model) -> Result<()> {
    let Some(name) = model.running.pop_first() else { return Ok(()) };
    node.berth(&format!("rm -f {name}")).output()?.ok()?;
    Ok(())
}
