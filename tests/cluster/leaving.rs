//! Nodes that die, end, and come back.

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, is_root};

use crate::cluster::{Cluster, LONG, SHORT, texts};
use crate::converged::{converged, relists, shows_what_is};
use crate::keys::{Staying, all};
use crate::member::STEADY;

/// Nothing of a node that is dead is shown after its lease, while its containers go on; it comes back with them.
#[test]
fn a_node_that_is_killed_leaves_and_comes_back() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    Cluster::start(&etcd.endpoints(), &["a", "b", "c"], SHORT)?.play(|cluster| {
        converged(&cluster.members)?;
        let before = relists(&cluster.members)?;
        let of_b = format!("cluster ps --filter node==b,name=={:?}", cluster.of("b").id(STEADY));
        let pid = |cluster: &Cluster| -> Result<u64> {
            let shown = cluster.of("a").lines(&of_b)?;
            shown.first().and_then(|of| of["pid"].as_u64()).context("it is not shown")
        };
        let before_it = pid(cluster)?;
        cluster.of_mut("b").node.kill_berthd()?;
        let (a, c) = (cluster.of("a"), cluster.of("c"));
        shows_what_is(&[a, c], &[a, c])?;
        let left: Vec<_> = all(&etcd.endpoints())?
            .into_keys()
            .filter(|key| key.contains("/b/") || key.ends_with("/b"))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        ensure!(texts(&a.lines("cluster nodes")?, "node") == ["a", "c"]);
        let lives = std::path::Path::new(&format!("/proc/{before_it}")).exists();
        ensure!(lives, "its container died with it");
        cluster.of_mut("b").node.start_berthd()?;
        converged(&cluster.members)?;
        ensure!(pid(cluster)? == before_it, "it is another one");
        for (name, before) in [("a", before[0]), ("c", before[2])] {
            ensure!(cluster.of(name).relists()? == before, "{name} has listed again");
        }
        Ok(())
    })
}

/// Of a node that is restarted within its lease nothing leaves the view.
#[test]
fn a_node_that_is_restarted_was_never_away() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    Cluster::start(&etcd.endpoints(), &["a", "b"], LONG)?.play(|cluster| {
        converged(&cluster.members)?;
        let staying = Staying::now(&etcd.endpoints())?;
        for killed in [false, true] {
            let b = cluster.of_mut("b");
            if killed {
                b.node.kill_berthd()?;
            } else {
                ensure!(b.node.stop()? == Some(0), "it did not end well");
            }
            b.node.start_berthd()?;
            b.is("registered")?;
            // What changed while it was away is told too.
            b.tag(&format!("after-{killed}"))?;
            converged(&cluster.members)?;
        }
        staying.none_left(&etcd.endpoints())
    })
}
