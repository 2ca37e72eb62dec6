//! How snapshots are counted. The only test of its program: there is one count for each. Needs root.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use berth_bundle::snapshots::{Caller, Kind, NATIVE, OVERLAYFS};
use berth_ids::Labels;
use berth_lifecycle::Turns;
use support::{Node, commit, prepare};

/// As many as are told apart.
const NAMESPACES: usize = 64;

#[tokio::test]
async fn snapshots_are_told_apart_by_namespace_and_the_last_ones_together() {
    let node = Node::new();
    let s = node.open().await;
    prepare(&s, OVERLAYFS, "a", "").await.unwrap();
    commit(&s, OVERLAYFS, "done", "a").await.unwrap();
    prepare(&s, OVERLAYFS, "b", "done").await.unwrap();
    prepare(&s, NATIVE, "c", "").await.unwrap();
    // All after `default`, in the order in which they are counted.
    for number in 0..NAMESPACES + 1 {
        let namespace = format!("n{number:02}").parse().unwrap();
        let caller = Caller { namespace, lease: None };
        s.create(caller, OVERLAYFS, Kind::Active, "a", "", Labels::new()).await.unwrap();
    }
    berth_bundle::counts::register(&node.store(), &Turns::new(1));
    let text = berth_metrics::all().await;
    let own = "berth_snapshots{namespace=\"default\",snapshotter";
    for line in [
        format!("{own}=\"overlayfs\",kind=\"committed\"}} 1"),
        format!("{own}=\"overlayfs\",kind=\"active\"}} 1"),
        format!("{own}=\"overlayfs\",kind=\"view\"}} 0"),
        format!("{own}=\"native\",kind=\"active\"}} 1"),
        "berth_snapshots{namespace=\"n62\",snapshotter=\"overlayfs\",kind=\"active\"} 1".into(),
        "berth_snapshots{namespace=\"other\",snapshotter=\"overlayfs\",kind=\"active\"} 2".into(),
        "berth_snapshots_bytes{namespace=\"n00\",snapshotter=\"overlayfs\"} 0".into(),
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in {text}");
    }
    let bytes = "\nberth_snapshots_bytes{namespace=\"default\",snapshotter=\"overlayfs\"} ";
    assert!(text.contains(bytes), "{text}");
    assert!(!text.contains("\"n63\""), "{text}");
}
