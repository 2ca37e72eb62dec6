//! Memory of a node at rest and of its shims, and what it does while at rest.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::Registry;

use crate::daemon::{Node, Pair};
use crate::{images, life, report};

const REST: Duration = Duration::from_secs(60);

/// Measures it.
pub async fn measure() -> Result<()> {
    let pair = Pair::start().await?;
    tokio::time::sleep(REST).await;
    nodes(&pair, "idle, 60 s after the start")?;
    let before = [activity(&pair.containerd)?, activity(&pair.berth)?];
    tokio::time::sleep(REST).await;
    let after = [activity(&pair.containerd)?, activity(&pair.berth)?];
    let (ticks, switches) =
        (|at: usize| after[at].0 - before[at].0, |at: usize| after[at].1 - before[at].1);
    report::figures("processor in 60 s at rest", "ticks", ticks(0) as f64, ticks(1) as f64);
    let [containerd, berth] = [switches(0), switches(1)];
    report::figures("context switches in 60 s at rest", "", containerd as f64, berth as f64);
    after_pull(&pair).await?;
    shims(&pair).await
}

fn nodes(pair: &Pair, what: &str) -> Result<()> {
    let total = |node: &Node| node.processes().iter().map(|pid| pss(*pid)).sum::<Result<u64>>();
    report::figures(what, "kB", total(&pair.containerd)? as f64, total(&pair.berth)? as f64);
    let mut each = BTreeMap::new();
    for pid in pair.berth.processes() {
        each.insert(name(pid), pss(pid)?);
    }
    for (name, kilobytes) in each {
        report::one(&format!("  {name}"), &format!("{kilobytes} kB"));
    }
    Ok(())
}

async fn after_pull(pair: &Pair) -> Result<()> {
    let registry = Registry::start()?;
    let image = images::large(6, 62 << 20)?.push(&registry, "six:1")?;
    for node in pair.nodes() {
        images::pull(node, &image)?;
    }
    nodes(pair, "right after a pull of 6 layers by ctr")?;
    for node in pair.nodes() {
        images::remove(node, &image)?;
    }
    let berth = berth_testkit::Node::binary("berth")?;
    let pull = berth_testkit::program(berth).args(["--address"]).args([pair.berth.place.socket()]);
    pull.args(["-n", "measure", "pull", "--plain-http", &image]).output()?.ok()?;
    nodes(pair, "right after the same by berth pull")?;
    tokio::time::sleep(REST).await;
    nodes(pair, "… and 60 s later")?;
    for node in pair.nodes() {
        images::remove(node, &image)?;
    }
    Ok(())
}

async fn shims(pair: &Pair) -> Result<()> {
    let registry = Registry::start()?;
    let image = images::tiny()?.push(&registry, "tiny:1")?;
    let mut made = 0;
    for count in [1, 10] {
        for node in pair.nodes() {
            images::pull(node, &image)?;
            let parent = node.client.top_snapshot().await?;
            for number in made..count {
                let id = format!("shim-{:?}-{number}-{}", node.place.kind, std::process::id());
                life::sleeper(&node.client, &id.to_lowercase(), &parent).await?;
            }
        }
        made = count;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let each = |node: &Node| -> Result<f64> {
            let shims = node.shims();
            let sum: u64 = shims.iter().map(|pid| pss(*pid)).sum::<Result<u64>>()?;
            Ok(sum as f64 / shims.len() as f64)
        };
        let what = format!("a shim, when {count} run");
        report::figures(&what, "kB", each(&pair.containerd)?, each(&pair.berth)?);
    }
    Ok(())
}

/// Proportional memory in kB.
pub fn pss(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs_err::read_to_string(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no Pss"))
}

/// Processor ticks and context switches of a node so far.
fn activity(node: &Node) -> Result<(u64, u64)> {
    let (mut ticks, mut switches) = (0, 0);
    for pid in node.processes() {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).context("stat")?;
        ticks += fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        for thread in fs_err::read_dir(format!("/proc/{pid}/task"))? {
            let status = fs_err::read_to_string(thread?.path().join("status"))?;
            let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
            switches += counts
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    Ok((ticks, switches))
}

fn name(pid: u32) -> String {
    fs_err::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
