//! A registration whose answer is lost on the way.

use std::time::Duration;

use berth_cluster::session::tidy;
use berth_testkit::{Etcd, Fate, Passage};

use crate::common::{LONG, TTL, connect, identity, leases, registered, shown};

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_made_unheard_is_found() {
    let etcd = Etcd::start().unwrap();
    let endpoint = etcd.endpoint();
    // It is in the node's value alone.
    let to = endpoint.trim_start_matches("http://");
    let passage = Passage::new(to, "the-run-of-this-test", Fate::Unheard).unwrap();
    let client = connect(vec![format!("http://{}", passage.address)]).await;
    let own = identity("u1", "b1", "the-run-of-this-test");
    let registration = registered(&client, &own, TTL, "a1").await.unwrap();
    assert_eq!(passage.came(), 1, "it was written once, unheard");
    assert!(registration.fresh);
    let direct = connect(etcd.endpoints()).await;
    let (node, lease) = shown(&direct).await.unwrap();
    assert_eq!((&*node.incarnation, lease), ("the-run-of-this-test", registration.lease));
    assert_eq!(direct.seen().await.unwrap().revision, registration.modified);
    assert!(direct.renew(lease, LONG).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_nothing_came_of_holds_up_no_registration() {
    let etcd = Etcd::start().unwrap();
    let endpoint = etcd.endpoint();
    let to = endpoint.trim_start_matches("http://");
    let passage = Passage::new(to, "the-run-of-this-test", Fate::Late).unwrap();
    let client = connect(vec![format!("http://{}", passage.address)]).await;
    let own = identity("u1", "b1", "the-run-of-this-test");
    let registering = registered(&client, &own, TTL, "a1");
    // Its first write is on its way while what its predecessor had sent is made.
    let before = async {
        let end = tokio::time::Instant::now() + LONG;
        while passage.came() == 0 {
            assert!(tokio::time::Instant::now() < end, "it writes nothing");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let direct = connect(etcd.endpoints()).await;
        registered(&direct, &identity("u1", "b1", "before"), TTL, "a1").await.unwrap()
    };
    let (registration, before) = tokio::join!(registering, before);
    let registration = registration.unwrap();
    assert_eq!(registration.lease, before.lease);
    let unused = registration.unused.unwrap();
    assert_eq!(leases(&etcd), 2, "nobody has waited for its end");
    tidy(&client, unused).await;
    assert_eq!(leases(&etcd), 1);
    tokio::task::block_in_place(|| passage.release());
    assert_eq!(shown(&client).await.unwrap().1, before.lease);
}
