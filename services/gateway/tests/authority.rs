//! What clients call the node: over a unix socket the name is whatever they make of its path.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::Node;
use common::raw::{HEADERS, Raw};

/// The kind of the frame that answers a call of Version under this name.
async fn answer(socket: &Path, authority: Option<&str>) -> u8 {
    let mut client = Raw::connect(socket).await;
    client.call(1, "/containerd.services.version.v1.Version/Version", authority).await;
    client.message(1, &[], true).await;
    let answer = client.answer(1);
    tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer")
}

#[tokio::test]
async fn the_name_of_the_node_does_not_matter() {
    let node = Node::new("10s");
    let names =
        [None, Some("localhost"), Some("x"), Some("unix:1"), Some("[::1]:80"), Some("a.sock")];
    for name in names {
        assert_eq!(answer(&node.config.address, name).await, HEADERS, "{name:?}");
    }
}

/// A path, escaped or not, is no host name, and what clients make of it does not matter either.
#[tokio::test]
async fn a_name_that_is_none_does_not_matter() {
    let node = Node::new("10s");
    for name in ["%2Frun%2Fberth%2Fberth.sock", "/run/berth/berth.sock", "unix:///a", "a b", "é"] {
        assert_eq!(answer(&node.config.address, Some(name)).await, HEADERS, "{name:?}");
    }
}
