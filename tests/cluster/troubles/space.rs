//! An etcd that has no space left, and gets some.

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, EtcdOptions, is_root};

use crate::cluster::{Cluster, SHORT, soon};
use crate::converged::{converged, no_relist, relists};
use crate::keys::{Staying, etcdctl, put, revision};
use crate::load::{changes_are_seen, on_all};
use crate::member::Member;

/// What its database may have.
const QUOTA: u64 = 12 << 20;

#[test]
fn an_etcd_without_space_is_told_of_and_waited_for() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let options = EtcdOptions { quota_bytes: Some(QUOTA), ..EtcdOptions::default() };
    let etcd = Etcd::start_with(&options)?;
    let endpoints = etcd.endpoints();
    Cluster::start(&endpoints, &["a", "b"], SHORT)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let before = relists(&cluster.members)?;
        let staying = Staying::now(&endpoints)?;
        fill(&endpoints)?;
        let mut loads = on_all(&cluster.members)?;
        for load in &mut loads {
            load.goes_on(10)?;
        }
        for member in &cluster.members {
            let mut last = None;
            soon("the node says what is in the way", || {
                let status = member.status()?;
                let why = status["trouble"].as_str().unwrap_or_default().to_owned();
                last = Some(status);
                Ok(why.contains("space") && why.contains("etcdctl alarm disarm"))
            })
            .with_context(|| format!("{last:?}"))?;
            member.works()?;
            // Nodes can be read, and stay: a lease is renewed without space.
            ensure!(member.lines("cluster nodes")?.len() == 2);
        }
        empty(&endpoints)?;
        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        for member in &cluster.members {
            ensure!(member.status()?["trouble"] == "", "{:?}", member.status());
        }
        changes_are_seen(&cluster.members, "after-space")?;
        no_relist(&cluster.members, &before)?;
        staying.none_left(&endpoints)?;
        drop(followed);
        Ok(())
    })
}

/// Until etcd takes no more. Beside the cluster's keys.
fn fill(endpoints: &[String]) -> Result<()> {
    let much = vec![b'x'; 1 << 20];
    for turn in 0..100 {
        let Err(error) = put(endpoints, &format!("/fill/{turn}"), &much) else { continue };
        ensure!(format!("{error}").contains("database space exceeded"), "{error:#}");
        return Ok(());
    }
    anyhow::bail!("etcd takes more than it may have")
}

/// What its operator does.
fn empty(endpoints: &[String]) -> Result<()> {
    etcdctl(endpoints).args(["del", "--prefix", "/fill/"]).output()?.ok()?;
    let now = revision(endpoints)?.to_string();
    etcdctl(endpoints).args(["compact", &now]).output()?.ok()?;
    etcdctl(endpoints).args(["defrag"]).output()?.ok()?;
    etcdctl(endpoints).args(["alarm", "disarm"]).output()?.ok().map(drop)
}
