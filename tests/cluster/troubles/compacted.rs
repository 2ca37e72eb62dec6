//! Changes that etcd has forgotten by the time that somebody asks for them.

use anyhow::{Result, ensure};
use berth_testkit::{Etcd, Session, Signal, is_root};

use crate::cluster::{Cluster, LONG, soon};
use crate::converged::{converged, relists};
use crate::keys;
use crate::load::{changes_are_seen, on_all};

#[test]
fn what_was_compacted_is_listed_again() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut etcd = Etcd::start()?;
    let endpoints = etcd.endpoints();
    Cluster::start(&endpoints, &["a", "b"], LONG)?.play(|cluster| {
        converged(&cluster.members)?;
        let (a, b) = (cluster.of("a"), cluster.of("b"));
        let first = keys::revision(&endpoints)?;
        let followed = b.events()?;
        soon("b follows", || Ok(b.view("images")?.is_some()))?;
        let seen = a.tag("seen-by-b")?;
        followed.expect(&seen)?;
        let before = relists(&cluster.members)?;

        // It sleeps while all that it would have to be told is made, and forgotten.
        b.node.signal_service("berth-cluster", Signal::STOP)?;
        let mut loads = on_all(&cluster.members)?;
        for load in &mut loads {
            load.goes_on(5)?;
        }
        let missed = a.tag("missed-by-b")?;
        let line = format!("cluster images --filter name=={missed:?}");
        soon("the others know", || Ok(a.lines(&line)?.len() == 1))?;
        compact(&etcd)?;
        etcd.restart()?;
        b.node.signal_service("berth-cluster", Signal::CONT)?;

        followed.expect(&missed)?;
        let later = a.tag("told-to-b")?;
        followed.expect(&later)?;
        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        let after = relists(&cluster.members)?;
        ensure!(after[1] > before[1], "b has not listed again: {before:?}, {after:?}");
        who_asks_for_it_is_told(cluster, first)?;
        changes_are_seen(&cluster.members, "after-compaction")
    })
}

/// Forgets all that was before now.
fn compact(etcd: &Etcd) -> Result<()> {
    let now = keys::revision(&etcd.endpoints())?.to_string();
    keys::etcdctl(&etcd.endpoints()).args(["compact", &now]).output()?.ok().map(drop)
}

/// A client that comes back too late hears that changes were lost, and then of what comes next.
fn who_asks_for_it_is_told(cluster: &Cluster, since: i64) -> Result<()> {
    let (a, b) = (cluster.of("a"), cluster.of("b"));
    // What a process keeps of late changes goes with it.
    b.node.kill_service("berth-cluster")?;
    b.is("registered")?;
    let line = format!("cluster events --kind images --since {since}");
    let session = Session::start(b.node.berth(&line))?;
    session.expect("changes were lost")?;
    // It goes on with what comes next, whenever that begins.
    let mut turn = 0;
    soon("it is told of what comes next", || {
        a.tag(&format!("later-{turn}"))?;
        turn += 1;
        Ok(session.printed().contains("localhost/later-"))
    })
}
