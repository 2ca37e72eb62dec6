//! A node that is to be part of a cluster whose etcd is not there, and one that is part of none.

use std::time::Duration;

use anyhow::{Result, ensure};
use berth_testkit::{Node, until};

const SOON: Duration = Duration::from_secs(60);
/// Nobody listens there.
const AWAY: &str =
    "[cluster]\nnode = 'alone'\n[cluster.etcd]\nendpoints = ['http://127.0.0.1:1']\n";

#[test]
fn a_node_in_no_cluster_says_how_to_be_in_one() -> Result<()> {
    let node = Node::start()?;
    ensure!(node.service_pid("berth-cluster").is_err(), "it runs for nothing");
    for line in ["nodes", "images", "ps", "events", "where busybox", "node", "status"] {
        let asked = node.berth(&format!("cluster {line}")).output()?;
        let said = asked.stderr.contains("set [cluster.etcd] endpoints in its configuration");
        ensure!(asked.code == 1 && said, "{line}: {asked}");
    }
    node.fsck()
}

#[test]
fn a_node_works_without_the_etcd_of_its_cluster() -> Result<()> {
    let node = Node::start_with(AWAY)?;
    node.berth("images").output()?.ok()?;
    until("berth-cluster runs", SOON, || node.service_pid("berth-cluster").is_ok())?;
    for _ in 0..2 {
        let before = node.service_pid("berth-cluster")?;
        node.kill_service("berth-cluster")?;
        // Nobody waits for it.
        node.berth("ps -a").output()?.ok()?;
        until("it is started again", SOON, || {
            node.service_pid("berth-cluster").is_ok_and(|pid| pid != before)
        })?;
    }
    let listed = node.berth("info --json").output()?.ok()?;
    ensure!(listed.contains("\"id\": \"cluster\""), "{listed}");
    node.fsck()
}
