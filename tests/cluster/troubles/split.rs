//! Members of etcd that lose each other, while clients reach all of them.

use std::ops::Range;

use anyhow::{Result, ensure};
use berth_testkit::{EtcdCluster, EtcdOptions, is_root};

use crate::apart::says_how_old_its_views_are;
use crate::cluster::{Cluster, LONG, SHORT, soon};
use crate::converged::{converged, no_relist, relists};
use crate::keys::Staying;
use crate::load::{changes_are_seen, on_all};
use crate::member::Member;
use crate::network::{Network, Place};

/// Three members with a network for clients and one for themselves.
struct Split {
    etcd: EtcdCluster,
    /// Each member's way to the others.
    ways: Vec<Place>,
    _networks: [Network; 2],
}

impl Split {
    fn start() -> Result<Self> {
        let (mut clients, mut peers) = (Network::new()?, Network::new()?);
        let (mut options, mut ways) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let place = clients.place()?;
            let way = peers.second(&place)?;
            options.push(EtcdOptions {
                address: Some(place.address),
                peers: Some(way.address),
                command: place.enter(),
                ..EtcdOptions::default()
            });
            ways.push(way);
        }
        let etcd = EtcdCluster::of(&options)?;
        Ok(Self { etcd, ways, _networks: [clients, peers] })
    }

    /// These members have lost all others, and know it. Clients reach them.
    fn cut(&self, those: Range<usize>) -> Result<()> {
        those.clone().try_for_each(|at| self.ways[at].cut())?;
        for member in &self.etcd.members[those] {
            soon("it has no leader", || {
                let status =
                    member.try_ctl(&["--command-timeout=10s", "endpoint", "status"])?.ok()?;
                Ok(status.contains("no leader"))
            })?;
        }
        Ok(())
    }

    /// It finds them again.
    fn join(&self, at: usize) -> Result<()> {
        self.ways[at].join()
    }
}

#[test]
fn a_member_that_has_lost_the_others_is_left() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let split = Split::start()?;
    let endpoints = split.etcd.endpoints();
    Cluster::start(&endpoints, &["a", "b"], LONG)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let staying = Staying::now(&endpoints)?;
        let before = relists(&cluster.members)?;
        let reconnects = reconnects(&cluster.members)?;
        let mut loads = on_all(&cluster.members)?;
        // Whichever of them nodes write to and read from, each is cut off once.
        for at in 0..3 {
            split.cut(at..at + 1)?;
            for load in &mut loads {
                load.goes_on(3)?;
            }
            for member in &cluster.members {
                let image = member.tag(&format!("without-{at}-{}", member.name))?;
                for session in &followed {
                    session.expect(&image)?;
                }
            }
            for member in &cluster.members {
                member.is("registered")?;
                soon("it is connected", || {
                    Ok(member.view("images")?.is_some_and(|view| view["connected"] == true))
                })?;
            }
            split.join(at)?;
            split.etcd.members[at].ready()?;
        }
        for load in loads {
            load.end()?;
        }
        for (now, before) in self::reconnects(&cluster.members)?.iter().zip(reconnects) {
            ensure!(*now > before, "no view was read from a member that was cut off");
        }
        converged(&cluster.members)?;
        no_relist(&cluster.members, &before)?;
        staying.none_left(&endpoints)
    })
}

#[test]
fn members_that_have_all_lost_each_other_are_waited_for() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let split = Split::start()?;
    Cluster::start(&split.etcd.endpoints(), &["a", "b"], SHORT)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let mut loads = on_all(&cluster.members)?;

        split.cut(0..3)?;
        for load in &mut loads {
            load.goes_on(5)?;
        }
        cluster.members.iter().try_for_each(Member::works)?;
        // Each of the members would answer, with what it had.
        cluster.members.iter().try_for_each(says_how_old_its_views_are)?;
        cluster.members.iter().try_for_each(|member| member.is("connecting"))?;
        (0..3).try_for_each(|at| split.join(at))?;

        cluster.members.iter().try_for_each(|member| member.is("registered"))?;
        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        changes_are_seen(&cluster.members, "together")?;
        drop(followed);
        Ok(())
    })
}

/// How often each node has begun again to follow a view.
fn reconnects(members: &[Member]) -> Result<Vec<f64>> {
    members.iter().map(|member| member.counted("berth_cluster_reconnects_total")).collect()
}
