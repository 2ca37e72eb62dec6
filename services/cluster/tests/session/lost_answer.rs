//! A registration whose answer is lost on the way.

use berth_testkit::{Etcd, Fate, Passage};

use crate::common::{LONG, TTL, connect, identity, registered, shown};

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
