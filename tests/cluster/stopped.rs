//! Processes that were stopped for longer than their lease.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use berth_testkit::{Etcd, Signal, is_root, signal};

use crate::cluster::{Cluster, SHORT};
use crate::converged::{converged, relists, shows_what_is};
use crate::keys::all;
use crate::load::changes_are_seen;
use crate::member::{Member, SERVICES};

/// The command waits for eight seconds; the rest is what a slow machine takes.
const PROMPTLY: Duration = Duration::from_secs(20);

#[test]
fn who_was_stopped_longer_than_its_lease_registers_again() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    Cluster::start(&etcd.endpoints(), &["a", "b"], SHORT)?.play(|cluster| {
        converged(&cluster.members)?;
        let before = relists(&cluster.members)?;
        let registered = cluster.of("b").counted("berth_cluster_registrations_total")?;
        stop_and_go_on(cluster, &etcd, false)?;
        stop_and_go_on(cluster, &etcd, true)?;
        let b = cluster.of("b");
        let now = b.counted("berth_cluster_registrations_total")?;
        ensure!(now >= registered + 2.0, "it registered {registered} times, then {now}");
        ensure!(cluster.of("a").relists()? == before[0], "a has listed again");
        changes_are_seen(&cluster.members, "after-stop")
    })
}

/// Stops the process of b, or all of its node, until its lease has run out.
fn stop_and_go_on(cluster: &Cluster, etcd: &Etcd, whole: bool) -> Result<()> {
    let (a, b) = (cluster.of("a"), cluster.of("b"));
    let pids = pids(b, whole)?;
    pids.iter().try_for_each(|pid| signal(*pid, Signal::STOP))?;
    shows_what_is(&[a], &[a])?;
    if !whole {
        // Who asks is told so before long, and by which name to look for it.
        let began = Instant::now();
        let refused = b.node.berth("cluster status").output()?.fails(1)?;
        let took = began.elapsed();
        ensure!(refused.contains("service berth-cluster does not answer"), "{refused}");
        ensure!(refused.contains("journalctl -u berth"), "{refused}");
        ensure!(took < PROMPTLY, "it took {took:?}");
    }
    let left = all(&etcd.endpoints())?;
    ensure!(!left.keys().any(|key| key.contains("/b/") || key.ends_with("/b")), "{left:?}");
    if !whole {
        // Its own services go on, and nobody tells them to be slow.
        b.works()?;
        b.tag("while-stopped")?;
    }
    pids.iter().rev().try_for_each(|pid| signal(*pid, Signal::CONT))?;
    b.is("registered")?;
    converged(&cluster.members)
}

fn pids(member: &Member, whole: bool) -> Result<Vec<u32>> {
    if !whole {
        return Ok(vec![member.node.service_pid("berth-cluster")?]);
    }
    let mut pids = vec![member.node.berthd_pid()?];
    for service in SERVICES {
        pids.push(member.node.service_pid(service)?);
    }
    Ok(pids)
}
