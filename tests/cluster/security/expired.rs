//! A certificate that runs out while its connection stands.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Authority, Etcd, EtcdOptions, is_root, program};

use super::with_certificate;
use crate::cluster::{Cluster, LONG, soon, texts};
use crate::converged::{converged, no_relist, relists};
use crate::load::changes_are_seen;
use crate::member::Member;

/// How long such a certificate is good for.
const SHORTLY: Duration = Duration::from_secs(6);

#[test]
fn a_certificate_that_runs_out_is_told_of_and_replaced_without_a_restart() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let authority = Authority::new()?;
    let options = EtcdOptions { tls: Some(&authority), ..EtcdOptions::default() };
    let mut etcd = Etcd::start_with(&options)?;
    let settings = [
        with_certificate(&authority, &etcd, "a", LONG)?,
        with_certificate(&authority, &etcd, "b", LONG)?,
    ];
    authority.issue_expired("of-b", "DNS:of-b")?;
    Cluster::start_with(&settings)?.live_through(|cluster| {
        let (a, b) = (cluster.of("a"), cluster.of("b"));
        says_which(b, &authority)?;
        registers_with_one_that_runs_out(b, &authority)?;
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let before = relists(&cluster.members)?;
        soon("it has run out", || has_run_out(&authority))?;
        // As long as the connection stands nobody asks for it.
        changes_are_seen(&cluster.members, "connected")?;
        ensure!(b.status()?["trouble"] == "", "{:?}", b.status());

        etcd.restart()?;
        let missed = b.tag("told-later")?;
        says_which(b, &authority)?;
        b.works()?;
        let shown = a.lines("cluster nodes")?;
        ensure!(texts(&shown, "node") == ["a", "b"], "it has left: {shown:?}");
        let line = format!("cluster images --filter name=={missed:?}");
        ensure!(a.lines(&line)?.is_empty(), "etcd takes what is written with it");

        authority.issue_to("next", "of-b", "DNS:of-b")?;
        authority.replace("of-b", "next")?;
        b.is("registered")?;
        converged(&cluster.members)?;
        ensure!(b.status()?["trouble"] == "", "{:?}", b.status());
        changes_are_seen(&cluster.members, "replaced")?;
        no_relist(&cluster.members, &before)?;
        drop(followed);
        Ok(())
    })
}

/// It says that its certificate is what is wrong, and where that is.
fn says_which(b: &Member, authority: &Authority) -> Result<()> {
    let told = format!("certificate {} has run out", authority.path("of-b.pem").display());
    let mut last = None;
    soon("b says what is wrong", || {
        let status = b.status()?;
        let why = status["trouble"].as_str().unwrap_or_default();
        let told = why.contains(&told) && status["registration"] == "connecting";
        last = Some(status);
        Ok(told)
    })
    .with_context(|| format!("{last:?}"))?;
    ensure!(b.node.log()?.contains(&told), "its log does not say it");
    Ok(())
}

/// Gives it one that is good for some seconds, and the next when that was not enough for this machine.
fn registers_with_one_that_runs_out(b: &Member, authority: &Authority) -> Result<()> {
    let mut registered = false;
    soon("b is registered", || {
        authority.issue_until("short", "of-b", "DNS:of-b", SHORTLY)?;
        authority.replace("of-b", "short")?;
        while !registered && !has_run_out(authority)? {
            registered = b.status()?["registration"] == "registered";
        }
        Ok(registered)
    })
}

fn has_run_out(authority: &Authority) -> Result<bool> {
    let openssl = program("openssl").args(["x509", "-noout", "-checkend", "0", "-in"]);
    Ok(openssl.args([authority.path("of-b.pem")]).output()?.code == 1)
}
