//! berth-cluster killed again and again in the midst of changes.

use anyhow::Result;
use berth_testkit::{Etcd, is_root};

use crate::cluster::{Cluster, LONG, soon};
use crate::converged::converged;
use crate::keys::Staying;
use crate::load::{changes_are_seen, on_all};

/// So often is it killed on each node.
const KILLS: usize = 6;

#[test]
fn nothing_leaves_the_view_while_its_process_is_killed() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    Cluster::start(&etcd.endpoints(), &["a", "b"], LONG)?.play(|cluster| {
        converged(&cluster.members)?;
        let staying = Staying::now(&etcd.endpoints())?;
        let mut loads = on_all(&cluster.members)?;
        for _ in 0..KILLS {
            for (member, load) in cluster.members.iter().zip(&mut loads) {
                let killed = member.node.service_pid("berth-cluster")?;
                member.node.kill_service("berth-cluster")?;
                load.goes_on(2)?;
                soon("it is started again", || {
                    Ok(member.node.service_pid("berth-cluster")? != killed)
                })?;
            }
        }
        for load in loads {
            load.end()?;
        }
        cluster.members.iter().try_for_each(|member| member.is("registered"))?;
        converged(&cluster.members)?;
        staying.none_left(&etcd.endpoints())?;
        changes_are_seen(&cluster.members, "after-kills")
    })
}
