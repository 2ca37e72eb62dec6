//! Two nodes of one name.

use anyhow::{Result, ensure};
use berth_testkit::{Etcd, is_root};

use crate::cluster::{Cluster, NAME, SHORT, Setting, soon, texts};
use crate::converged::{converged, shows_what_is};
use crate::keys::Staying;

#[test]
fn the_second_of_a_name_is_refused_and_follows_when_the_first_is_gone() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let endpoints = etcd.endpoints();
    let [first, second] = ["twin", "twin"].map(|name| Setting::new(name, &endpoints, SHORT));
    let other = Setting::new("other", &endpoints, SHORT);
    Cluster::start_with(&[first.clone(), other])?.play(|cluster| {
        converged(&cluster.members)?;
        let staying = Staying::now(&endpoints)?;
        cluster.add(std::slice::from_ref(&second))?;
        is_refused(cluster, 2, &first)?;
        // It works, alone, and reads what others show.
        cluster.members[2].works()?;
        let nodes = texts(&cluster.members[2].lines("cluster nodes")?, "node");
        ensure!(nodes == ["other", "twin"], "{nodes:?}");
        let all: Vec<_> = cluster.members.iter().collect();
        shows_what_is(&all, &all[..2])?;
        staying.none_left(&endpoints)?;

        cluster.members[0].node.kill_berthd()?;
        cluster.members[2].is("registered")?;
        let rest: Vec<_> = cluster.members[1..].iter().collect();
        shows_what_is(&rest, &rest)?;
        cluster.members[0].node.start_berthd()?;
        is_refused(cluster, 0, &second)?;
        cluster.members[0].works()?;
        let all: Vec<_> = cluster.members.iter().collect();
        shows_what_is(&all, &all[1..])
    })
}

/// It says who has the name, and where that is.
fn is_refused(cluster: &Cluster, at: usize, holder: &Setting) -> Result<()> {
    let member = &cluster.members[at];
    member.is("refused")?;
    let address = holder.address.to_string();
    let status = member.status()?;
    ensure!(status["trouble"].as_str().is_some_and(|why| why.contains(&address)), "{status}");
    ensure!(status["cluster"] == NAME, "{status}");
    let told = |line: &str| line.contains("twin") && line.contains(&address);
    soon("its log says so", || {
        Ok(member.node.log()?.lines().any(|line| line.contains("WARN") && told(line)))
    })
}
