//! Keeping the lease alive, and its end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_cluster::Error;
use berth_cluster::peers::etcd::Etcd as Client;
use berth_cluster::session::renew;
use berth_testkit::Etcd;
use tokio::time::{Instant, timeout};

use crate::common::{LONG, TTL, connect, identity, registered, shown};

/// As [`renew`], whoever is told.
async fn renewed(client: &Client, lease: i64, good: Duration) -> Error {
    renew(client, lease, good, |_| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lives_as_long_as_it_is_renewed() {
    let mut etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let own = identity("u1", "b1", "i1");
    let ttl = Duration::from_secs(4);
    let registration = registered(&client, &own, ttl, "a1").await.unwrap();
    // Its time passes twice and is not over.
    let renewing = timeout(2 * ttl, renewed(&client, registration.lease, ttl)).await;
    assert!(renewing.is_err(), "{renewing:?}");
    assert_eq!(shown(&client).await.unwrap().1, registration.lease);

    // Nor by an etcd that is away for less than that.
    let renewing = renewed(&client, registration.lease, ttl);
    let restarted = async {
        tokio::task::block_in_place(|| etcd.restart()).unwrap();
        tokio::time::sleep(2 * ttl).await;
    };
    tokio::select! {
        error = renewing => panic!("{error}"),
        () = restarted => {}
    }
    assert_eq!(shown(&client).await.unwrap().1, registration.lease);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_taken_over_is_renewed_at_its_own_pace() {
    let etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let ttl = Duration::from_secs(5);
    let before = registered(&client, &identity("u1", "b1", "i1"), ttl, "a1").await.unwrap();
    // The configuration was changed in between.
    let after = registered(&client, &identity("u1", "b1", "i2"), TTL, "a1").await.unwrap();
    assert_eq!((after.lease, after.good), (before.lease, ttl));
    let renewing = timeout(2 * ttl, renewed(&client, after.lease, after.good)).await;
    assert!(renewing.is_err(), "{renewing:?}");
    assert_eq!(shown(&client).await.unwrap().1, before.lease);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_gone_ends_its_renewal_at_once() {
    let mut etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let own = identity("u1", "b1", "i1");
    let ttl = Duration::from_secs(6);
    let first = registered(&client, &own, ttl, "a1").await.unwrap();
    client.revoke(first.lease).await.unwrap();
    let error = timeout(LONG, renewed(&client, first.lease, ttl)).await.unwrap();
    assert!(matches!(error, Error::LeaseGone(lease) if lease == first.lease), "{error}");

    let second = registered(&client, &own, ttl, "a1").await.unwrap();
    etcd.wipe().unwrap();
    let error = timeout(LONG, renewed(&client, second.lease, ttl)).await.unwrap();
    assert!(matches!(error, Error::LeaseGone(lease) if lease == second.lease), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_is_tried_for_the_leases_time() {
    let mut etcd = Etcd::start().unwrap();
    let client = connect(etcd.endpoints()).await;
    let own = identity("u1", "b1", "i1");
    let ttl = Duration::from_secs(3);
    let registration = registered(&client, &own, ttl, "a1").await.unwrap();
    etcd.kill();
    let (start, failed) = (Instant::now(), AtomicUsize::new(0));
    let told = |error: Option<&Error>| {
        assert!(matches!(error, Some(Error::Away { .. })), "{error:?}");
        failed.fetch_add(1, Ordering::Relaxed);
    };
    let renewing = renew(&client, registration.lease, ttl, told);
    let error = timeout(LONG, renewing).await.unwrap();
    assert!(failed.into_inner() > 0);
    assert!(matches!(error, Error::Away { .. }), "{error}");
    assert!(start.elapsed() >= ttl, "{:?}", start.elapsed());
}
