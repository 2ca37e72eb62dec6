//! What these tests share.

use std::time::Duration;

use berth_cluster::keys::{Kind, Layout};
use berth_cluster::objects::{Node, Object};
use berth_cluster::peers::etcd::{Etcd, If, Outcome, Settings, Write};
use berth_cluster::peers::stored;
use berth_cluster::session::{Identity, Registration, register};
use berth_cluster::{Error, Result};

/// How long a condition may take to come about on a slow machine.
pub const LONG: Duration = Duration::from_secs(60);
/// The time of a lease that is not to end within a test.
pub const TTL: Duration = Duration::from_secs(60);

pub async fn connect(endpoints: Vec<String>) -> Etcd {
    Etcd::connect(&Settings { endpoints, ..Settings::default() }).await.unwrap()
}

pub fn layout() -> Layout {
    Layout::new(&"c".parse().unwrap())
}

pub fn identity(uuid: &str, boot: &str, incarnation: &str) -> Identity {
    Identity {
        name: "n1".parse().unwrap(),
        uuid: uuid.into(),
        incarnation: incarnation.into(),
        boot: boot.into(),
    }
}

/// Registers under the name `n1`, as if from this address.
pub async fn registered(
    etcd: &Etcd,
    identity: &Identity,
    ttl: Duration,
    address: &str,
) -> Result<Registration> {
    let node = Node { addresses: vec![address.into()], ..Node::default() };
    register(etcd, &layout(), identity, ttl, node).await
}

/// What is at the node's key, and under which lease.
pub async fn shown(etcd: &Etcd) -> Option<(Node, i64)> {
    let key = layout().node(&"n1".parse().unwrap());
    let entry = etcd.get(&key).await.unwrap().0?;
    let Object::Node(node) = stored::decode(Kind::Nodes, &entry.key, &entry.value).unwrap() else {
        panic!("no node")
    };
    Some((*node, entry.lease))
}

/// Writes something else that the node holds.
pub async fn hold(etcd: &Etcd, lease: i64) {
    let put =
        Write::Put { key: "/berth/c/v1/images/n1/default/a".into(), value: "x".into(), lease };
    let made = etcd.write(&If::Absent("/none".into()), vec![put]).await.unwrap();
    assert!(matches!(made, Outcome::Made(_)));
}

pub async fn holds(etcd: &Etcd) -> bool {
    etcd.get("/berth/c/v1/images/n1/default/a").await.unwrap().0.is_some()
}

pub fn assert_taken(error: &Error, from: &str, by: &str) {
    let is = matches!(error, Error::Taken { node, address, uuid }
        if (node.as_str(), address.as_str(), uuid.as_str()) == ("n1", from, by));
    assert!(is, "{error}");
}

/// How many leases there are.
pub fn leases(etcd: &berth_testkit::Etcd) -> usize {
    etcd.ctl(&["lease", "list"]).lines().skip(1).filter(|line| !line.is_empty()).count()
}
