//! An etcd that is killed and comes back with its data: alone, or member by member.

use anyhow::{Result, ensure};
use berth_testkit::{Etcd, EtcdCluster, is_root};

use crate::apart::says_how_old_its_views_are;
use crate::cluster::{Cluster, LONG};
use crate::converged::{converged, no_relist, relists};
use crate::keys::Staying;
use crate::load::{changes_are_seen, on_all};
use crate::member::Member;

#[test]
fn an_etcd_that_is_killed_finds_all_as_it_was() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut etcd = Etcd::start()?;
    Cluster::start(&etcd.endpoints(), &["a", "b"], LONG)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let staying = Staying::now(&etcd.endpoints())?;
        let before = relists(&cluster.members)?;
        let mut loads = on_all(&cluster.members)?;
        for _ in 0..2 {
            etcd.kill();
            for load in &mut loads {
                load.goes_on(3)?;
            }
            cluster.members.iter().try_for_each(says_how_old_its_views_are)?;
            etcd.restart()?;
            for load in &mut loads {
                load.goes_on(3)?;
            }
        }
        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        changes_are_seen(&cluster.members, "after-kill")?;
        no_relist(&cluster.members, &before)?;
        staying.none_left(&etcd.endpoints())?;
        drop(followed);
        Ok(())
    })
}

#[test]
fn members_of_etcd_restart_one_after_the_other() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut etcd = EtcdCluster::start(3)?;
    let endpoints = etcd.endpoints();
    Cluster::start(&endpoints, &["a", "b"], LONG)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let staying = Staying::now(&endpoints)?;
        let before = relists(&cluster.members)?;
        let mut loads = on_all(&cluster.members)?;
        for at in 0..3 {
            etcd.members[at].kill();
            for load in &mut loads {
                load.goes_on(3)?;
            }
            // What the rest of them agree on is shown while one is away.
            changes_are_seen(&cluster.members, &format!("without-{at}"))?;
            etcd.members[at].restart()?;
        }
        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        no_relist(&cluster.members, &before)?;
        staying.none_left(&endpoints)?;
        for member in &cluster.members {
            ensure!(member.status()?["registration"] == "registered", "{:?}", member.status());
        }
        drop(followed);
        Ok(())
    })
}
