//! Conditional writes, and leases.

use std::time::Duration;

use berth_cluster::Error;
use berth_cluster::peers::etcd::{If, Outcome, Write};
use berth_testkit::until;

use crate::common::{LONG, always, connect, put, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_made_if_its_condition_holds() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let absent = If::Absent("/a".into());
    let made = client.write(&absent, vec![put("/a", "1"), put("/b", "1")]).await.unwrap();
    let Outcome::Made(first) = made else { panic!("{made:?}") };

    let refused = client.write(&absent, vec![put("/a", "2"), put("/c", "2")]).await.unwrap();
    let Outcome::Refused(Some(found)) = refused else { panic!("{refused:?}") };
    assert_eq!((&*found.key, &*found.value, found.modified), (&b"/a"[..], &b"1"[..], first));
    assert!(client.get("/c").await.unwrap().0.is_none(), "all or nothing");

    let unchanged = If::Unchanged("/a".into(), first);
    let writes = vec![Write::Delete { key: "/b".into() }, put("/a", "3")];
    let made = client.write(&unchanged, writes.clone()).await.unwrap();
    let Outcome::Made(second) = made else { panic!("{made:?}") };
    assert!(second > first && client.get("/b").await.unwrap().0.is_none());
    assert!(matches!(client.write(&unchanged, writes).await.unwrap(), Outcome::Refused(Some(_))));
    let gone = If::Unchanged("/b".into(), first);
    let refused = client.write(&gone, vec![put("/b", "4")]).await.unwrap();
    assert_eq!(refused, Outcome::Refused(None));

    // What is not there can be deleted, and changes nothing.
    let again = write(&client, vec![Write::Delete { key: "/b".into() }]).await;
    assert_eq!(again, second);
    let (entry, seen) = client.get("/a").await.unwrap();
    assert_eq!((entry.unwrap().modified, seen.revision), (second, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_bounded() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let many = |count| (0..count).map(|at| put(format!("/{at}"), "x")).collect::<Vec<_>>();
    write(&client, many(100)).await;
    let error = client.write(&always(), many(101)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let large = vec![put("/large", vec![0; 2 << 20])];
    let error = client.write(&always(), large).await.unwrap_err();
    assert!(matches!(error, Error::Etcd { .. }), "{error}");
    assert!(client.get("/large").await.unwrap().0.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_with_their_lease() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let ttl = Duration::from_secs(30);
    let lease = client.grant(ttl).await.unwrap();
    let under = |key: &str, lease| Write::Put { key: key.into(), value: "1".into(), lease };
    write(&client, vec![under("/a", lease), under("/b", lease)]).await;
    assert_eq!(client.get("/a").await.unwrap().0.unwrap().lease, lease);
    client.renew(lease, LONG).await.unwrap();
    assert_eq!(client.granted(lease).await.unwrap(), ttl);

    client.revoke(lease).await.unwrap();
    assert!(client.get("/a").await.unwrap().0.is_none());
    assert!(client.get("/b").await.unwrap().0.is_none());
    client.revoke(lease).await.unwrap();
    for gone in [client.renew(lease, LONG).await, client.granted(lease).await.map(drop)] {
        let error = gone.unwrap_err();
        assert!(matches!(error, Error::LeaseGone(gone) if gone == lease), "{error}");
    }
    let error = client.write(&always(), vec![under("/a", lease)]).await.unwrap_err();
    assert!(matches!(error, Error::LeaseGone(gone) if gone == lease), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_nobody_renews_ends() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let lease = client.grant(Duration::from_millis(900)).await.unwrap();
    let key = Write::Put { key: "/a".into(), value: "1".into(), lease };
    write(&client, vec![key]).await;
    let gone = || etcd.ctl(&["get", "/a"]).is_empty();
    tokio::task::block_in_place(|| until("the key is gone", LONG, gone)).unwrap();
    assert!(matches!(client.renew(lease, LONG).await, Err(Error::LeaseGone(_))));
}
