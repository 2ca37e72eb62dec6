//! A node that is cut off from the network goes on, and finds back.

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, EtcdOptions, is_root};
use serde_json::Value;

use crate::cluster::{Cluster, SHORT, Setting, soon};
use crate::converged::{converged, shows_what_is};
use crate::load::{changes_are_seen, on_all};
use crate::member::Member;
use crate::network::Network;

#[test]
fn a_node_that_is_cut_off_works_and_all_agree_when_it_is_back() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut network = Network::new()?;
    let places = [network.place()?, network.place()?, network.place()?];
    let options = EtcdOptions { address: Some(network.address()), ..EtcdOptions::default() };
    let etcd = Etcd::start_with(&options)?;
    let mut settings = Vec::new();
    for (name, place) in ["a", "b", "c"].iter().zip(&places) {
        let setting = Setting::new(name, &etcd.endpoints(), SHORT);
        settings.push(Setting { address: place.address, command: place.berthd()?, ..setting });
    }
    Cluster::start_with(&settings)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let loads = on_all(&cluster.members)?;
        let c = cluster.of("c");
        soon("c follows", || Ok(c.view("images")?.is_some_and(|view| view["connected"] == true)))?;
        let known = c.lines("cluster nodes")?.len();

        places[2].cut()?;
        // From here to where it is joined again etcd is not to be reached from it: what it does it does without.
        c.works()?;
        says_how_old_its_views_are(c)?;
        ensure!(c.lines("cluster nodes")?.len() == known, "it has forgotten the others");
        c.tag("made-apart")?;
        let apart = c.run("made-apart")?;
        for load in loads {
            load.end()?;
        }
        let rest = [cluster.of("a"), cluster.of("b")];
        shows_what_is(&rest, &rest)?;
        ensure!(c.status()?["registration"] == "connecting", "{:?}", c.status());
        c.works()?;

        places[2].join()?;
        converged(&cluster.members)?;
        let shown = cluster.of("a").lines(&format!("cluster ps --filter name=={apart:?}"))?;
        ensure!(shown.len() == 1, "{shown:?}");
        changes_are_seen(&cluster.members, "together")?;
        drop(followed);
        Ok(())
    })
}

/// It comes to say that etcd is away, and then more and more.
pub fn says_how_old_its_views_are(member: &Member) -> Result<()> {
    let age = |view: &Value| view["age_seconds"].as_f64().unwrap_or_default();
    let mut first = None;
    soon("it is not connected", || {
        let view = member.view("images")?.context("its view is gone")?;
        first = Some(view.clone());
        Ok(view["connected"] == false)
    })?;
    let first = first.context("a view")?;
    soon("its view grows older", || {
        let view = member.view("images")?.context("its view is gone")?;
        ensure!(view["connected"] == false, "{view}");
        Ok(age(&view) > age(&first) && age(&view) > 0.5)
    })?;
    let listed = member.node.berth("cluster images").output()?;
    ensure!(listed.code == 0 && listed.stderr.contains("etcd is away"), "{listed}");
    // Those that read JSON find it in each line.
    let lines = member.viewed("cluster images")?;
    let old = |of: &Value| of["view"]["connected"] == false && age(&of["view"]) > 0.5;
    ensure!(!lines.is_empty() && lines.iter().all(old), "{lines:?}");
    Ok(())
}
