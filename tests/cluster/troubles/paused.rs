//! An etcd that says nothing for a while, with all connections as they were.

use anyhow::Result;
use berth_testkit::{Etcd, is_root};

use crate::apart::says_how_old_its_views_are;
use crate::cluster::{Cluster, SHORT};
use crate::converged::converged;
use crate::load::{changes_are_seen, on_all};
use crate::member::Member;

#[test]
fn an_etcd_that_says_nothing_holds_nobody_up() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    Cluster::start(&etcd.endpoints(), &["a", "b"], SHORT)?.live_through(|cluster| {
        converged(&cluster.members)?;
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let mut loads = on_all(&cluster.members)?;

        etcd.pause()?;
        for load in &mut loads {
            load.goes_on(10)?;
        }
        cluster.members.iter().try_for_each(Member::works)?;
        cluster.members.iter().try_for_each(says_how_old_its_views_are)?;
        // Until there is nothing left that nodes may hold on to.
        cluster.members.iter().try_for_each(|member| member.is("connecting"))?;
        etcd.resume()?;

        cluster.members.iter().try_for_each(|member| member.is("registered"))?;
        for load in loads {
            load.end()?;
        }
        converged(&cluster.members)?;
        changes_are_seen(&cluster.members, "after-pause")?;
        drop(followed);
        Ok(())
    })
}
