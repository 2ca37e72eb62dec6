//! Many at once, and who waits for whom.

use berth_cni::{Attachment, Error};
use futures::future::join_all;
use serde_json::json;

use crate::node::{Node, on_a_node};

/// Notes when it begins and ends, and takes a while in between.
const SLOW: &str = "echo begin $CNI_COMMAND $CNI_CONTAINERID >> log\nsleep 0.05\n\
    echo end $CNI_COMMAND $CNI_CONTAINERID >> log\n[ $CNI_COMMAND = ADD ] && echo \"$prev\"\nexit 0";

/// Whether each that began ended before the next began.
fn one_by_one(log: &str) -> bool {
    let lines: Vec<_> = log.lines().collect();
    let pair = |pair: &[&str]| {
        let (begun, ended) = (pair[0].strip_prefix("begin "), pair.get(1)?.strip_prefix("end "));
        (begun.is_some() && begun == ended).then_some(())
    };
    lines.chunks(2).all(|chunk| pair(chunk).is_some())
}

#[test]
fn many_containers_come_and_go_at_once() {
    on_a_node(async |node: Node| {
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        let network = node.network("1.0.0", json!([node.bridge(), portmap]));
        let containers: Vec<_> = (0..8).map(|n| node.container(&format!("c{n}"))).collect();
        let added = join_all(containers.iter().map(|c| node.engine.add(&network, c))).await;
        let mut addresses: Vec<_> =
            added.into_iter().map(|o| o.unwrap().result.ips[0].address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 8);
        join_all(containers.iter().map(|c| node.engine.check(&network, c))).await;
        let deleted = join_all(containers.iter().map(|c| node.engine.del(&network, c))).await;
        deleted.into_iter().for_each(|done| done.unwrap());
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn operations_on_one_container_go_one_after_another() {
    on_a_node(async |node: Node| {
        let plugins = json!([node.script("slow", SLOW)]);
        let (one, two) =
            (node.named("a", "1.0.0", plugins.clone()), node.named("b", "1.0.0", plugins));
        let container = node.container("c");
        let second = Attachment { ifname: "eth1".into(), ..container.clone() };
        let third = Attachment { ifname: "eth2".into(), ..container.clone() };
        // Two engines, as two processes have.
        let other = node.engine(crate::node::LONG);
        let (a, b, c) = tokio::join!(
            node.engine.add(&one, &container),
            node.engine.add(&two, &second),
            other.add(&one, &third),
        );
        for added in [a, b, c] {
            added.unwrap();
        }
        let (d, e) =
            tokio::join!(node.engine.add(&one, &container), node.engine.del(&two, &second));
        assert!(matches!(d, Err(Error::Added(_))), "{d:?}");
        e.unwrap();
        let log = node.read("log");
        assert_eq!(log.lines().count(), 8);
        assert!(one_by_one(&log), "{log}");
    });
}

#[test]
fn of_two_who_add_the_same_one_does() {
    on_a_node(async |node: Node| {
        let network = node.network("1.0.0", json!([node.bridge()]));
        let container = node.container("c");
        let (a, b) = tokio::join!(
            node.engine.add(&network, &container),
            node.engine.add(&network, &container),
        );
        assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|ok| **ok).count(), 1);
        node.engine.del(&network, &container).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn a_collection_goes_alone() {
    on_a_node(async |node: Node| {
        let network = node.network("1.1.0", json!([node.script("slow", SLOW)]));
        let containers: Vec<_> = (0..3).map(|n| node.container(&format!("c{n}"))).collect();
        let adds = join_all(containers.iter().map(|c| node.engine.add(&network, c)));
        let (adds, gc) = tokio::join!(adds, node.engine.gc(&network, &[]));
        adds.into_iter().for_each(|added| drop(added.unwrap()));
        gc.unwrap();
        let log = node.read("log");
        let gc = log.lines().position(|line| line.starts_with("begin GC")).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert!(lines[gc + 1].starts_with("end GC"), "{log}");
        let begun =
            |lines: &[&str], what: &str| lines.iter().filter(|l| l.starts_with(what)).count();
        assert_eq!(begun(&lines[..gc], "begin"), begun(&lines[..gc], "end"), "{log}");
        for container in &containers {
            node.engine.del(&network, container).await.unwrap();
        }
        assert_eq!(node.left(), [""; 0]);
    });
}
