//! What a node takes of the machine: open descriptors, mounts, processes, and memory.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use berth_testkit::Node;

/// berthd's own, and the services'.
const SERVICES: [&str; 4] =
    ["berth-gateway", "berth-distribution", "berth-bundle", "berth-runtime"];

/// What a node at rest takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Takes {
    /// How many each has open: berthd, the services and the shims, by pid.
    descriptors: BTreeMap<u32, usize>,
    mounts: usize,
    /// All that berthd, services and shims have started and its descendants, by pid: those that have
    /// ended and that nobody has waited for too.
    processes: BTreeMap<u32, String>,
}

impl Takes {
    pub fn of(node: &Node) -> Result<Self> {
        let (mut starters, shims) = (services(node)?, node.shims());
        starters.extend(&shims);
        let open = |pid: &u32| Ok((*pid, fs_err::read_dir(format!("/proc/{pid}/fd"))?.count()));
        Ok(Self {
            descriptors: starters.iter().map(open).collect::<Result<_>>()?,
            mounts: node.mounts().len(),
            processes: descendants(&starters)?,
        })
    }

    /// How many shims there are.
    pub fn shims(&self) -> usize {
        self.descriptors.len() - SERVICES.len() - 1
    }
}

fn services(node: &Node) -> Result<BTreeSet<u32>> {
    let services = SERVICES.iter().map(|service| node.service_pid(service));
    services.chain([node.berthd_pid()]).collect()
}

/// Processes by pid, each with its program's name and its parent's pid.
fn all() -> Result<BTreeMap<u32, (String, u32)>> {
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
        // One may have ended since it was listed.
        let Ok(stat) = fs_err::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let (start, rest) = stat.rsplit_once(')').context("no name")?;
        let name = start.split_once('(').context("no name")?.1.to_owned();
        let parent = rest.split_whitespace().nth(1).context("no parent")?.parse()?;
        found.insert(pid, (name, parent));
    }
    Ok(found)
}

/// These and what they have started, with the names of their programs. A zombie keeps its name.
fn descendants(starters: &BTreeSet<u32>) -> Result<BTreeMap<u32, String>> {
    let all = all()?;
    let is_theirs = |pid: &u32| {
        let mut next = Some(pid);
        while let Some(pid) = next {
            if starters.contains(pid) {
                return true;
            }
            next = all.get(pid).map(|(_, parent)| parent);
        }
        false
    };
    let theirs = all.iter().filter(|(pid, _)| is_theirs(pid));
    Ok(theirs.map(|(pid, (name, _))| (*pid, name.clone())).collect())
}

/// What a node has in memory that is in no file, in KiB. Pages of programs are shared with all that run
/// the same ones, and count for more when the node of another test ends.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// berthd's and the services'.
    pub services: u64,
    /// All shims'.
    pub shims: u64,
}

impl Memory {
    pub fn of(node: &Node) -> Result<Self> {
        let services = services(node)?.into_iter().map(memory).sum::<Result<_>>()?;
        let shims = node.shims().into_iter().map(memory).sum::<Result<_>>()?;
        Ok(Self { services, shims })
    }

    /// The smaller of both.
    pub fn least(self, other: Self) -> Self {
        let services = self.services.min(other.services);
        Self { services, shims: self.shims.min(other.shims) }
    }

    /// Whether it is less than the other's by more than a fiftieth.
    pub fn is_falling(self, before: Self) -> bool {
        let less = |now: u64, before: u64| now * 50 < before * 49;
        less(self.services, before.services) || less(self.shims, before.shims)
    }

    /// Whether neither is more than the other's and a tenth of it.
    pub fn is_like(self, before: Self) -> bool {
        let like = |now: u64, before: u64| now * 10 <= before * 11;
        like(self.services, before.services) && like(self.shims, before.shims)
    }
}

fn memory(pid: u32) -> Result<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("no {name}"))?;
        Ok::<_, anyhow::Error>(line.trim().trim_end_matches(" kB").parse::<u64>()?)
    };
    Ok(field("Pss_Anon:")? + field("Pss_Shmem:")?)
}
