//! An etcd whose answers take long: shorter than what is waited for, and longer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, Session, is_root};
use serde_json::Value;

use crate::apart::says_how_old_its_views_are;
use crate::cluster::{Cluster, LONG, soon};
use crate::converged::{converged, no_relist, relists};
use crate::keys::{Staying, etcdctl};
use crate::line::Line;
use crate::load::{changes_are_seen, on_all};
use crate::member::Member;

/// What nodes have patience for: five seconds for an answer.
const SLOW: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];
/// A lease that is renewed within a story, and does not run out because a machine is busy.
const RENEWED: &str = "lease = \"20s\"";
/// What they have not.
const TOO_SLOW: Duration = Duration::from_secs(6);

#[test]
fn what_changes_is_seen_while_etcd_is_slow() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let line = Line::to(&etcd)?;
    Cluster::start(&line.endpoints(), &["a", "b"], RENEWED)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let staying = Staying::now(&etcd.endpoints())?;
        let before = relists(&cluster.members)?;
        let mut loads = on_all(&cluster.members)?;
        for long in SLOW {
            line.takes(long);
            is_slow(&line, long)?;
            for load in &mut loads {
                load.goes_on(3)?;
            }
            are_told(cluster, &followed, &format!("within-{}", long.as_millis()))?;
            leases_are_renewed(&etcd)?;
            for member in &cluster.members {
                soon("it is connected", || {
                    let view = member.view("images")?.context("its view is gone")?;
                    Ok(view["connected"] == true)
                })?;
                ensure!(member.status()?["registration"] == "registered", "{:?}", member.status());
            }
        }
        line.takes(Duration::ZERO);
        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        changes_are_seen(&cluster.members, "after-it")?;
        no_relist(&cluster.members, &before)?;
        staying.none_left(&etcd.endpoints())
    })
}

#[test]
fn an_etcd_that_is_too_slow_is_as_one_that_is_away() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let line = Line::to(&etcd)?;
    Cluster::start(&line.endpoints(), &["a", "b"], LONG)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let staying = Staying::now(&etcd.endpoints())?;
        let before = relists(&cluster.members)?;
        let mut loads = on_all(&cluster.members)?;

        line.takes(TOO_SLOW);
        is_slow(&line, TOO_SLOW)?;
        for load in &mut loads {
            load.goes_on(5)?;
        }
        cluster.members.iter().try_for_each(Member::works)?;
        cluster.members.iter().try_for_each(says_how_old_its_views_are)?;
        // What is not answered in time may yet be done: none of it may do harm when all goes on.
        for load in &mut loads {
            load.goes_on(5)?;
        }
        line.takes(Duration::ZERO);

        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        are_told(cluster, &followed, "after-it")?;
        no_relist(&cluster.members, &before)?;
        staying.none_left(&etcd.endpoints())
    })
}

/// A question and its answer take so long over the line.
fn is_slow(line: &Line, long: Duration) -> Result<()> {
    let asked = Instant::now();
    etcdctl(&line.endpoints()).args(["get", "none"]).output()?.ok()?;
    ensure!(asked.elapsed() >= long, "it was answered after {:?}", asked.elapsed());
    Ok(())
}

/// All leases get their whole time again.
fn leases_are_renewed(etcd: &Etcd) -> Result<()> {
    let listed = etcd.ctl(&["lease", "list"]);
    // A line says how many there are.
    let leases: Vec<_> = listed.lines().skip(1).collect();
    ensure!(leases.len() >= 2, "{listed}");
    for lease in leases {
        let left = || -> Result<i64> {
            let told = etcd.ctl(&["lease", "timetolive", lease, "-w", "json"]);
            let told: Value = serde_json::from_str(&told).with_context(|| told.clone())?;
            told["ttl"].as_i64().with_context(|| format!("{told}"))
        };
        let (mut least, mut last) = (i64::MAX, 0);
        soon("the lease is renewed", || {
            last = left()?;
            least = least.min(last);
            Ok(last > least)
        })
        .with_context(|| format!("{last}"))?;
    }
    Ok(())
}

/// Each node has an image and a container more, and all that follow hear of them.
fn are_told(cluster: &Cluster, followed: &[Session], name: &str) -> Result<()> {
    let mut there = Vec::new();
    for member in &cluster.members {
        there.push(member.tag(&format!("{name}-{}", member.name))?);
        there.push(member.run(name)?);
    }
    for session in followed {
        there.iter().try_for_each(|one| session.expect(one))?;
    }
    Ok(())
}
