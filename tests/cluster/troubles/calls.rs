//! What clients of a node ask it is answered as ever while etcd, the way to it or the node's own berth-cluster
//! is away: nothing of a node waits for them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use berth_testkit::{Etcd, EtcdOptions, Image, Layer, Registry, Run, Signal, is_root, program};
use serde_json::json;

use crate::apart::says_how_old_its_views_are;
use crate::archive::{Archive, IMAGE};
use crate::cluster::{Cluster, LONG, Setting, soon};
use crate::converged::converged;
use crate::load::changes_are_seen;
use crate::member::{Member, STEADY};
use crate::network::Network;

/// How long any call may take, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(10);
/// Who waits for etcd waits longer, and each time: five seconds.
const QUICK: Duration = Duration::from_secs(4);
/// So often may a call find the machine busy.
const TURNS: usize = 3;
/// Where nodes tell whether they are ready, each at its own address.
const WATCHED: u16 = 7412;

#[test]
fn a_nodes_own_calls_do_not_wait_for_the_cluster() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (mut network, registry) = (Network::new()?, Registry::start()?);
    let place = network.place()?;
    let mut etcd = Etcd::start_with(&EtcdOptions {
        address: Some(place.address),
        command: place.enter(),
        ..EtcdOptions::default()
    })?;
    let settings = ["a", "b"].map(|name| {
        let mut setting = Setting::new(name, &etcd.endpoints(), "");
        setting.keys = format!("{LONG}\n[metrics]\naddress = \"{}:{WATCHED}\"", setting.address);
        setting
    });
    Cluster::start_with(&settings)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let a = cluster.of("a");
        let ready = format!("http://{}:{WATCHED}/readyz", settings[0].address);
        let archive = &cluster.archive;
        soon("all kinds are followed", || {
            Ok(a.status()?["views"].as_array().is_some_and(|views| views.len() == 3))
        })?;
        let calls = Calls { registry: &registry, archive, member: a, ready };
        calls.are_answered("at-first")?;

        etcd.pause()?;
        calls.are_answered_without("etcd-stopped")?;
        etcd.kill();
        calls.are_answered_without("etcd-killed")?;
        etcd.restart()?;
        place.cut()?;
        calls.are_answered_without("etcd-cut-off")?;
        place.join()?;
        a.node.signal_service("berth-cluster", Signal::STOP)?;
        calls.are_answered("cluster-stopped")?;
        a.node.signal_service("berth-cluster", Signal::CONT)?;

        converged(&cluster.members)?;
        changes_are_seen(&cluster.members, "after-all")?;
        drop(followed);
        Ok(())
    })
}

/// All that is asked of a node.
struct Calls<'a> {
    registry: &'a Registry,
    archive: &'a Archive,
    member: &'a Member,
    /// Where it says whether it is ready.
    ready: String,
}

impl Calls<'_> {
    /// Each is answered in time, and the node is ready.
    fn are_answered(&self, trouble: &str) -> Result<()> {
        self.all(trouble).with_context(|| trouble.to_owned())
    }

    /// The same when etcd has just gone away, and when that is known. What is asked of the cluster is answered
    /// from memory.
    fn are_answered_without(&self, etcd: &str) -> Result<()> {
        self.are_answered(&format!("{etcd}-just-now"))?;
        self.of_the_cluster()?;
        says_how_old_its_views_are(self.member)?;
        self.are_answered(&format!("{etcd}-for-long"))?;
        self.of_the_cluster()
    }

    fn of_the_cluster(&self) -> Result<()> {
        for line in ["status", "nodes", "images", "ps"] {
            in_time(|_| Ok(self.member.node.berth(&format!("cluster {line}"))))?;
        }
        Ok(())
    }

    fn all(&self, trouble: &str) -> Result<()> {
        let ctr = |line: String| self.member.node.ctr(&line);
        for line in
            ["version", "namespaces ls", "images ls", "containers ls", "tasks ls", "plugins ls"]
        {
            in_time(|_| Ok(ctr(line.into())))?;
        }
        let id = |turn: usize| self.member.id(&format!("{trouble}-{turn}"));
        in_time(|turn| Ok(ctr(format!("run --rm {IMAGE} {} true", id(turn)))))?;
        let steady = self.member.id(STEADY);
        in_time(|turn| Ok(ctr(format!("tasks exec --exec-id {} {steady} true", id(turn)))))?;
        in_time(|_| Ok(ctr("images import".into()).args([self.archive.path()])))?;
        let layers = vec![Layer::noise(trouble, 20_000, 7)?];
        let image =
            Image::build(layers, json!({}))?.push(self.registry, &format!("{trouble}:1"))?;
        in_time(|turn| {
            if turn > 0 {
                self.member.berth(&format!("rmi {image}"))?;
            }
            Ok(self.member.node.berth(&format!("pull -q {image}")))
        })?;
        self.is_ready()
    }

    /// A service has two seconds to say so, which one that is well may miss on a busy machine.
    fn is_ready(&self) -> Result<()> {
        let mut told = String::new();
        for _ in 0..TURNS {
            told = in_time(|_| Ok(program("curl").args(["-sS", &self.ready])))?;
            if told == "distribution: ok\nbundle: ok\nruntime: ok\n" {
                return Ok(());
            }
        }
        bail!("it is not ready: {told}")
    }
}

/// A call succeeds each time that it is made, within [`LIMIT`], and once in a few times quickly. Answers what it
/// printed last.
fn in_time(call: impl Fn(usize) -> Result<Run>) -> Result<String> {
    let mut slow = Vec::new();
    for turn in 0..TURNS {
        let call = call(turn)?.patience(LIMIT);
        let begun = Instant::now();
        let output = call.output()?;
        let (line, took) = (output.line.clone(), begun.elapsed());
        let printed = output.ok()?;
        if took < QUICK {
            return Ok(printed);
        }
        slow.push((line, took));
    }
    bail!("none was quick: {slow:?}")
}
