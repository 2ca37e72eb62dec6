//! Whose a name is.

use std::time::Duration;

use berth_cluster::Error;
use berth_cluster::objects::{Node, Object};
use berth_cluster::peers::etcd::{If, Write};
use berth_cluster::peers::stored;
use berth_cluster::session::register;
use berth_testkit::{Etcd, until};
use tokio::task::block_in_place;

use crate::common::{
    LONG, TTL, assert_taken, connect, hold, holds, identity, layout, leases, registered, shown,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_free_name_is_taken() {
    let etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let own = identity("u1", "b1", "i1");
    let registration = registered(&client, &own, TTL, "a1").await.unwrap();
    assert!(registration.fresh);
    let (node, lease) = shown(&client).await.unwrap();
    assert_eq!(lease, registration.lease);
    assert_eq!((&*node.uuid, &*node.boot, &*node.incarnation), ("u1", "b1", "i1"));
    assert_eq!(node.addresses, ["a1"]);
    assert_eq!(node.registered.unwrap().unix_timestamp(), registration.registered.unix_timestamp());
    assert_eq!(client.seen().await.unwrap().revision, registration.modified);
    assert_eq!(client.granted(lease).await.unwrap(), TTL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessors_lease_is_taken_over_with_all_that_lies_under_it() {
    let etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let before = registered(&client, &identity("u1", "b1", "i1"), TTL, "a1").await.unwrap();
    hold(&client, before.lease).await;
    // The same run that lost its answer or its connection may come again, too.
    for incarnation in ["i2", "i2", "i3"] {
        let own = identity("u1", "b1", incarnation);
        let after = registered(&client, &own, TTL, "a2").await.unwrap();
        assert!(!after.fresh && after.lease == before.lease && after.modified > before.modified);
        assert_eq!(after.registered.unix_timestamp(), before.registered.unix_timestamp());
        let (node, lease) = shown(&client).await.unwrap();
        assert_eq!((&*node.incarnation, lease), (incarnation, before.lease));
        assert_eq!(node.addresses, ["a2"]);
        assert!(holds(&client).await);
    }
    assert_eq!(leases(&etcd), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_name_is_refused_until_it_is_gone() {
    let etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let first = registered(&client, &identity("u1", "b1", "i1"), TTL, "a1").await.unwrap();
    let other = identity("u2", "b2", "i2");
    let error = registered(&client, &other, TTL, "a2").await.unwrap_err();
    assert_taken(&error, "a1", "u1");
    // A copy of the root on another machine, and this one before its last boot.
    let copy = identity("u1", "b2", "i2");
    assert_taken(&registered(&client, &copy, TTL, "a2").await.unwrap_err(), "a1", "u1");
    let (node, lease) = shown(&client).await.unwrap();
    assert_eq!((&*node.uuid, &*node.boot, lease), ("u1", "b1", first.lease));
    assert_eq!(leases(&etcd), 1, "no lease is left over");

    client.revoke(first.lease).await.unwrap();
    let node =
        Node { peer_address: "p2:1".into(), addresses: vec!["a2".into()], ..Node::default() };
    let second = register(&client, &layout(), &other, TTL, node).await.unwrap();
    assert!(second.fresh);
    let error = registered(&client, &identity("u1", "b1", "i1"), TTL, "a1").await.unwrap_err();
    assert_taken(&error, "p2:1", "u2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_free_after_its_lease_and_after_a_loss_of_data() {
    let mut etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let own = identity("u1", "b1", "i1");
    let short = Duration::from_secs(1);
    let first = registered(&client, &own, short, "a1").await.unwrap();
    hold(&client, first.lease).await;
    let key = "/berth/c/v1/nodes/n1";
    let gone = || etcd.ctl(&["get", key]).is_empty();
    block_in_place(|| until("the key is gone", LONG, gone)).unwrap();
    let second = registered(&client, &identity("u2", "b2", "i2"), TTL, "a2").await.unwrap();
    assert!(second.fresh && second.lease != first.lease && !holds(&client).await);

    etcd.wipe().unwrap();
    let third = loop {
        match registered(&client, &own, TTL, "a1").await {
            Ok(registration) => break registration,
            Err(error) => assert!(matches!(error, Error::Away { .. }), "{error}"),
        }
    };
    assert!(third.fresh && third.modified <= second.modified);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_come_at_once_are_told_apart() {
    let etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let [one, two] = ["1", "2"].map(|it| identity(&format!("u{it}"), "b", &format!("i{it}")));
    let (one, two) =
        tokio::join!(registered(&client, &one, TTL, "a1"), registered(&client, &two, TTL, "a2"),);
    let (made, error, address, uuid) = match (one, two) {
        (Ok(made), Err(error)) => (made, error, "a1", "u1"),
        (Err(error), Ok(made)) => (made, error, "a2", "u2"),
        both => panic!("{both:?}"),
    };
    assert_taken(&error, address, uuid);
    assert_eq!(shown(&client).await.unwrap().1, made.lease);
    assert_eq!(leases(&etcd), 1, "no lease is left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_nodes_is_written_over() {
    let etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let key = "/berth/c/v1/nodes/n1";
    let garbage = Write::Put { key: key.into(), value: vec![0xff; 100].into(), lease: 0 };
    client.write(&If::Absent(key.into()), vec![garbage]).await.unwrap();
    let made = registered(&client, &identity("u1", "b1", "i1"), TTL, "a1").await.unwrap();
    assert!(made.lease != 0 && !made.fresh);
    assert_eq!(shown(&client).await.unwrap().1, made.lease);

    // So is one of ours without a lease, as an operator may have put it back.
    let value = client.get(key).await.unwrap().0.unwrap().value;
    let bare = Write::Put { key: key.into(), value, lease: 0 };
    client.write(&If::Absent("/none".into()), vec![bare]).await.unwrap();
    let registration = registered(&client, &identity("u1", "b1", "i2"), TTL, "a1").await.unwrap();
    assert!(registration.lease != 0 && !registration.fresh);
    assert_eq!(shown(&client).await.unwrap().1, registration.lease);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_version_that_says_more_is_a_node() {
    let etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let lease = client.grant(TTL).await.unwrap();
    let node = Node {
        uuid: "u1".into(),
        boot: "b1".into(),
        addresses: (1..100).map(|number| format!("a{number}")).collect(),
        ..Node::default()
    };
    let value: bytes::Bytes = stored::encode(&Object::Node(Box::new(node))).into();
    let put = async |lease| {
        let (key, value) = ("/berth/c/v1/nodes/n1".into(), value.clone());
        let put = Write::Put { key, value, lease };
        client.write(&If::Absent("/none".into()), vec![put]).await.unwrap();
    };
    put(lease).await;
    let other = identity("u2", "b2", "i2");
    assert_taken(&registered(&client, &other, TTL, "a2").await.unwrap_err(), "a1", "u1");
    let own = registered(&client, &identity("u1", "b1", "i1"), TTL, "a1").await.unwrap();
    assert!(own.lease == lease && !own.fresh, "{own:?}");
    // Nobody keeps that alive.
    put(0).await;
    let made = registered(&client, &other, TTL, "a2").await.unwrap();
    assert_eq!(shown(&client).await.unwrap().1, made.lease);
    assert!(made.lease != lease && made.lease != 0);
}
