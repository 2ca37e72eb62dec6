//! Rights at etcd that are taken away from nodes that are registered, and given back.

use anyhow::{Context, Result, ensure};
use berth_testkit::{Authority, Etcd, EtcdOptions, is_root};

use super::with_certificate;
use crate::cluster::{Cluster, LONG, NAME, soon, texts};
use crate::converged::converged;
use crate::load::changes_are_seen;
use crate::member::Member;

/// What is counted for each write that is refused.
const REFUSED: &str = "berth_cluster_failures_total{code=\"permission denied\"}";

#[test]
fn rights_that_are_taken_away_are_told_of_and_waited_for() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let authority = Authority::new()?;
    let options = EtcdOptions { tls: Some(&authority), ..EtcdOptions::default() };
    let etcd = Etcd::start_with(&options)?;
    let prefix = format!("/berth/{NAME}/");
    etcd.ctl(&["role", "add", "nodes"]);
    etcd.ctl(&["role", "grant-permission", "nodes", "--prefix=true", "readwrite", &prefix]);
    for (user, role) in [("root", "root"), ("of-a", "nodes"), ("of-b", "nodes")] {
        etcd.ctl(&["user", "add", user, "--no-password"]);
        etcd.ctl(&["user", "grant-role", user, role]);
    }
    etcd.ctl(&["auth", "enable"]);
    let settings = [
        with_certificate(&authority, &etcd, "a", LONG)?,
        with_certificate(&authority, &etcd, "b", LONG)?,
    ];
    Cluster::start_with(&settings)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let (a, b) = (cluster.of("a"), cluster.of("b"));

        etcd.ctl(&["user", "revoke-role", "of-b", "nodes"]);
        let missed = b.tag("without-role")?;
        is_forbidden(b, 0.0)?;
        b.works()?;
        ensure!(a.status()?["trouble"] == "", "{:?}", a.status());
        is_kept(a, &missed)?;
        etcd.ctl(&["user", "grant-role", "of-b", "nodes"]);
        all_is_well(cluster, "role-back")?;

        let before = [a.counted(REFUSED)?, b.counted(REFUSED)?];
        etcd.ctl(&["role", "revoke-permission", "nodes", "--prefix=true", &prefix]);
        let missed = b.tag("without-permission")?;
        a.tag("without-permission")?;
        is_forbidden(a, before[0])?;
        is_forbidden(b, before[1])?;
        cluster.members.iter().try_for_each(Member::works)?;
        is_kept(a, &missed)?;
        etcd.ctl(&["role", "grant-permission", "nodes", "--prefix=true", "readwrite", &prefix]);
        all_is_well(cluster, "permission-back")?;
        drop(followed);
        Ok(())
    })
}

/// It says what it may not do, where to look, and counts it, since it had counted so many.
fn is_forbidden(member: &Member, before: f64) -> Result<()> {
    let mut last = None;
    soon("it says what it may not", || {
        let status = member.status()?;
        let why = status["trouble"].as_str().unwrap_or_default();
        let told = ["permission denied", "[cluster.etcd]"].iter().all(|word| why.contains(word));
        last = Some(status.clone());
        Ok(told)
    })
    .with_context(|| format!("{last:?}"))?;
    soon("it counts that", || Ok(member.counted(REFUSED)? > before))?;
    let told = |line: &str| line.contains("WARN") && line.contains("permission denied");
    ensure!(member.node.log()?.lines().any(told), "its log does not say it");
    Ok(())
}

/// What was shown of b is shown, and what it could not write is not.
fn is_kept(a: &Member, missed: &str) -> Result<()> {
    let shown = a.lines("cluster nodes")?;
    ensure!(texts(&shown, "node") == ["a", "b"], "one has left: {shown:?}");
    let line = format!("cluster images --filter node==b,name=={missed:?}");
    ensure!(a.lines(&line)?.is_empty(), "etcd takes what it may not");
    Ok(())
}

fn all_is_well(cluster: &Cluster, name: &str) -> Result<()> {
    converged(&cluster.members)?;
    for member in &cluster.members {
        soon("nothing is in the way", || Ok(member.status()?["trouble"] == ""))?;
        member.is("registered")?;
    }
    changes_are_seen(&cluster.members, name)
}
