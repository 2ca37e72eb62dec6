//! What other nodes see of one whose services cannot work, or which runs out of something.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, Signal, is_root, signal};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::cluster::{Cluster, LONG, Setting, soon};
use crate::converged::converged;
use crate::member::Member;

/// Bytes of the root of `b`.
const ROOT: &str = "96m";
/// Kilobytes that `b` is told of.
const MEMORY: u64 = 8_000_000;

#[test]
fn what_a_node_cannot_do_is_seen_from_another() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let memory = Memory::new()?;
    let [a, b] = ["a", "b"].map(|name| Setting::new(name, &etcd.endpoints(), LONG));
    let b = Setting { command: on_a_small_disk(&memory.binaries.path("berthd")), ..b };
    Cluster::start_with(&[a, b])?.play(|cluster| {
        converged(&cluster.members)?;
        let (a, b) = (cluster.of("a"), cluster.of("b"));
        is_well(a)?;
        a_service_is_stopped_and_little_is_left(a, b, &memory)?;
        a_service_is_killed(a, b)?;
        converged(&cluster.members)
    })
}

/// Starts berthd with a root that is a file system of its own, not a large one. It is unmounted with the node.
fn on_a_small_disk(berthd: &Path) -> Vec<OsString> {
    let script = format!(
        "for word; do [ \"$last\" != --root ] || root=$word; last=$word; done; mkdir -p \"$root\"; \
         mount -t tmpfs -o size={ROOT} tmpfs \"$root\"; exec {} \"$@\"",
        berthd.display()
    );
    ["sh", "-ec", &script, "sh"].map(OsString::from).to_vec()
}

/// The memory of which berth-cluster is told, in a mount namespace of its own, as containers are.
struct Memory {
    binaries: Binaries,
}

impl Memory {
    fn new() -> Result<Self> {
        let script = |folder: &Path, program: &Path| {
            let (told, program) = (folder.join("meminfo"), program.display());
            format!(
                "#!/bin/sh\nexec unshare --mount sh -ec 'mount --bind {} /proc/meminfo; exec {program} \"$@\"' \
                 sh \"$@\"\n",
                told.display()
            )
        };
        let memory = Self { binaries: Binaries::with("berth-cluster", script)? };
        fs_err::write(memory.binaries.path("meminfo"), text(50))?;
        Ok(memory)
    }

    /// In percent. Whoever reads it reads one or the other: it has as many bytes.
    fn use_up(&self, percent: u64) -> Result<()> {
        let file = fs_err::OpenOptions::new().write(true).open(self.binaries.path("meminfo"));
        Ok(file?.write_all(text(percent).as_bytes())?)
    }
}

fn text(percent: u64) -> String {
    let available = MEMORY * (100 - percent) / 100;
    format!("MemTotal:  {MEMORY:>10} kB\nMemAvailable:  {available:>10} kB\n")
}

/// What `at` shows of `b`.
fn shown(at: &Member) -> Result<Value> {
    let [b] = &at.lines("cluster nodes --filter node==b")?[..] else {
        anyhow::bail!("b is not shown");
    };
    Ok(b.clone())
}

/// Why services of `b` do not serve, by their names.
fn down(b: &Value) -> Result<Vec<(String, String)>> {
    let services = b["services"].as_array().context("no services")?;
    ensure!(services.len() == 4, "{b}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let down = services.iter().filter(|of| of["serves"] != true);
    Ok(down.map(|of| (text(&of["name"]), text(&of["reason"]))).collect())
}

fn is_well(a: &Member) -> Result<()> {
    soon("all of b serve", || Ok(down(&shown(a)?)?.is_empty()))?;
    let pressed = shown(a)?["pressure"].as_array().context("no pressure")?.clone();
    ensure!(pressed.len() == 2, "{pressed:?}");
    ensure!(pressed.iter().all(|of| of["under_pressure"] == false), "{pressed:?}");
    let listed = a.berth("cluster nodes")?;
    ensure!(listed.lines().skip(1).all(|line| line.contains("  ok  ")), "{listed}");
    Ok(())
}

/// Its bundle alone does not serve, and it is said why, to people too.
fn is_down(a: &Member, why: &str) -> Result<()> {
    soon("a sees that b's bundle does not serve", || {
        let down = down(&shown(a)?)?;
        ensure!(down.len() == 1 && down[0].0 == "bundle" && down[0].1.contains(why), "{down:?}");
        Ok(true)
    })?;
    let listed = a.berth("cluster nodes")?;
    ensure!(listed.contains("bundle: "), "{listed}");
    // The others of it, and what it holds, are there.
    ensure!(!a.lines("cluster ps --filter node==b")?.is_empty());
    a.berth("cluster node b").map(drop)
}

/// It is there, and does not answer; and disk and memory are used up.
fn a_service_is_stopped_and_little_is_left(a: &Member, b: &Member, memory: &Memory) -> Result<()> {
    let pid = b.node.service_pid("berth-bundle")?;
    signal(pid, Signal::STOP)?;
    let ballast = b.node.path("root/ballast");
    let used = || -> Result<()> {
        memory.use_up(96)?;
        fill(&b.node.path("root"), &ballast)?;
        is_down(a, "no answer")?;
        is_short(a, "disk", Some(95))?;
        is_short(a, "memory", Some(95))
    };
    let seen = used();
    signal(pid, Signal::CONT)?;
    seen?;
    memory.use_up(50)?;
    fs_err::remove_file(&ballast)?;
    is_short(a, "disk", None)?;
    is_short(a, "memory", None)?;
    is_well(a)?;
    ensure!(b.node.service_pid("berth-bundle")? == pid, "it was started again");
    Ok(())
}

/// It is gone, and who would start it again is held up.
fn a_service_is_killed(a: &Member, b: &Member) -> Result<()> {
    let (pid, berthd) = (b.node.service_pid("berth-bundle")?, b.node.berthd_pid()?);
    signal(berthd, Signal::STOP)?;
    let seen = b.node.kill_service("berth-bundle").and_then(|()| is_down(a, "bundle"));
    signal(berthd, Signal::CONT)?;
    seen?;
    is_well(a)?;
    ensure!(b.node.service_pid("berth-bundle")? != pid, "it was not started again");
    b.works()
}

/// All but a twenty-fifth of what may be used.
fn fill(root: &Path, ballast: &Path) -> Result<()> {
    let stat = rustix::fs::statvfs(root)?;
    let blocks = stat.f_bavail.saturating_sub(stat.f_blocks * 4 / 100);
    let room = usize::try_from(blocks * stat.f_frsize)?;
    ensure!(room > 0 && stat.f_blocks * stat.f_frsize < 1 << 30, "its disk is another");
    Ok(fs_err::write(ballast, vec![1; room])?)
}

/// `b` comes to run out of this, with so much of it used as it is shown; or of nothing.
fn is_short(a: &Member, resource: &str, used: Option<u64>) -> Result<()> {
    let mut last = Value::Null;
    soon(&format!("a sees how much {resource} b has"), || {
        last = shown(a)?["pressure"].clone();
        let of = last.as_array().into_iter().flatten().find(|of| of["resource"] == resource);
        let of = of.with_context(|| format!("no {resource}"))?;
        let is_so = |used: u64| of["used_percent"] == used && of["under_pressure"] == true;
        Ok(used.map_or(of["under_pressure"] == false, is_so))
    })
    .with_context(|| format!("{last}"))?;
    let listed = a.berth("cluster nodes")?;
    let words = format!("{resource} {} %", used.unwrap_or_default());
    ensure!(listed.contains(&words) == used.is_some(), "{listed}");
    Ok(())
}
