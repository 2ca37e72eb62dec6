//! Members of etcd that lose each other, while clients reach all of them.

use anyhow::{Result, ensure};
use berth_testkit::{Etcd, EtcdCluster, EtcdOptions, is_root};

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

    /// A member has lost the others. It says what it has itself, and of what needs them nothing.
    fn cut(&self, at: usize) -> Result<()> {
        self.ways[at].cut()?;
        let member = &self.etcd.members[at];
        soon("it cannot know what is new", || Ok(!knows(member, "l")?))?;
        ensure!(knows(member, "s")?, "clients do not reach member {at}");
        Ok(())
    }

    /// It finds them again.
    fn join(&self, at: usize) -> Result<()> {
        self.ways[at].join()
    }
}

/// Whether it answers such a question: one that is to be answered by all of them (`l`), or by itself (`s`).
fn knows(member: &Etcd, consistency: &str) -> Result<bool> {
    let consistency = format!("--consistency={consistency}");
    let asked = member.try_ctl(&["--command-timeout=10s", "get", "none", &consistency])?;
    Ok(asked.code == 0)
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
        let mut loads = on_all(&cluster.members)?;
        // Whichever of them nodes write to and read from, each is cut off once.
        for at in 0..3 {
            split.cut(at)?;
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

        (0..3).try_for_each(|at| split.cut(at))?;
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
