//! An etcd that has lost all.

use anyhow::{Result, ensure};
use berth_testkit::{Etcd, is_root};

use crate::cluster::{Cluster, SHORT};
use crate::converged::{converged, relists};
use crate::keys::revision;
use crate::load::{changes_are_seen, on_all};
use crate::member::Member;

#[test]
fn an_etcd_that_lost_its_data_gets_them_again() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut etcd = Etcd::start()?;
    Cluster::start(&etcd.endpoints(), &["a", "b"], SHORT)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let before = relists(&cluster.members)?;
        for (turn, busy) in [(0, true), (1, false)] {
            let loads = if busy { on_all(&cluster.members)? } else { Vec::new() };
            let was = revision(&etcd.endpoints())?;
            etcd.wipe()?;
            cluster.members.iter().try_for_each(Member::works)?;
            for load in loads {
                load.end()?;
            }
            converged(&cluster.members)?;
            // Who follows goes on with what comes next.
            let image = cluster.of("a").tag(&format!("after-loss-{turn}"))?;
            for session in &followed {
                session.expect(&image)?;
            }
            eprintln!("revision {was} before, {} after", revision(&etcd.endpoints())?);
        }
        let after = relists(&cluster.members)?;
        ensure!(after.iter().zip(&before).all(|(after, before)| after > before), "{after:?}");
        changes_are_seen(&cluster.members, "after-loss")
    })
}
