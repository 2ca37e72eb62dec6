//! More events on a node than its services keep for who does not read them.

use anyhow::{Result, ensure};
use berth_testkit::{Etcd, Signal, is_root};
use serde_json::Value;

use crate::archive::IMAGE;
use crate::calls::Calls;
use crate::cluster::{Cluster, LONG, soon};
use crate::converged::{converged, no_relist, relists};
use crate::member::{Member, STEADY};

/// So many events are kept by each service.
const KEPT: usize = 20;
/// More than a connection takes that nobody reads (4 MiB) in events of 32 KB, and then more than are kept.
const CHANGES: usize = 200;

/// Labels with so many bytes as one may have at most.
fn large() -> Vec<(String, String)> {
    (0..8).map(|at| (format!("large-{at}"), "x".repeat(4000))).collect()
}

#[test]
fn what_was_lost_of_a_nodes_events_is_found_by_listing_all() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    // Seldom compared: what is shown afterwards was listed for what was lost.
    let keys = format!(
        "{LONG}\ncompare = \"1h\"\n[runtime]\nevents = {KEPT}\n[distribution]\nevents = {KEPT}"
    );
    Cluster::start(&etcd.endpoints(), &["a", "b"], &keys)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let (a, b) = (cluster.of("a"), cluster.of("b"));
        let before = relists(&cluster.members)?;
        let gone = b.tag("gone-while-stopped")?;
        let ended = b.run("ended-while-stopped")?;
        soon("both are shown", || Ok(shows(a, "images", &gone)? && shows(a, "ps", &ended)?))?;
        b.node.signal_service("berth-cluster", Signal::STOP)?;
        let result = overflow(b, &gone, &ended);
        b.node.signal_service("berth-cluster", Signal::CONT)?;
        let made = result?;

        soon("what was lost is found", || {
            let lost = shows(a, "images", &gone)? || shows(a, "ps", &ended)?;
            Ok(!lost && shows(a, "images", &made)?)
        })?;
        for service in ["runtime", "distribution"] {
            let lost = b.counted_by(service, "berth_events_lost_total")?;
            ensure!(lost >= 1.0, "all events of {service} were told");
            ensure!(a.counted_by(service, "berth_events_lost_total")? == 0.0);
        }
        soon("the labels are the last ones", || Ok(labels(a, b)?["turn"] == "last"))?;
        converged(&cluster.members)?;
        no_relist(&cluster.members, &before)?;
        // What comes next is told by itself again.
        let next = b.tag("told-again")?;
        soon("it is told again", || shows(a, "images", &next))
    })
}

/// Makes changes that are told first, changes whose events are lost, and many after them; answers the name of
/// an image that was made among them.
fn overflow(b: &Member, gone: &str, ended: &str) -> Result<String> {
    let (calls, steady) = (Calls::of(b)?, b.id(STEADY));
    calls.label_image(IMAGE, CHANGES, &large())?;
    calls.label_container(&steady, CHANGES, &large())?;
    b.berth(&format!("rmi {gone}"))?;
    b.berth(&format!("rm -f {ended}"))?;
    let made = b.tag("made-while-stopped")?;
    let last = [("turn".to_owned(), "last".to_owned())];
    calls.label_image(IMAGE, 2 * KEPT, &last)?;
    calls.label_container(&steady, 2 * KEPT, &last)?;
    for service in ["runtime", "distribution"] {
        let behind = b.counted_by(service, "berth_events_lag")?;
        ensure!(behind > KEPT as f64, "{service} keeps all {behind} events that nobody has read");
    }
    Ok(made)
}

fn shows(at: &Member, list: &str, name: &str) -> Result<bool> {
    let line = format!("cluster {list} --filter node==b,name=={name:?}");
    Ok(!at.lines(&line)?.is_empty())
}

/// Those of b's container, as `at` shows them.
fn labels(at: &Member, b: &Member) -> Result<Value> {
    let line = format!("cluster ps --filter node==b,name=={:?}", b.id(STEADY));
    Ok(at.lines(&line)?.first().map(|shown| shown["labels"].clone()).unwrap_or_default())
}
