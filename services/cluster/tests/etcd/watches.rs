//! Watches.

use std::time::Duration;

use berth_cluster::Error;
use berth_cluster::peers::etcd::{Change, Etcd, PATIENCE, Told, Watch, Write};
use tokio::time::{Instant, timeout};

use crate::common::{LONG, changes, connect, key_of, put, write};

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_in_order_and_whole() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let first = write(&client, vec![put("/w/a", "1"), put("/w/b", "1")]).await;
    let second = write(&client, vec![put("/w/a", "2"), put("/v", "0")]).await;

    // What was before it is told, from where it is asked for.
    let mut watch = client.watch("/w/", first, true).await.unwrap();
    let told: Vec<_> = changes(&mut watch, second).await.into_iter().flat_map(|it| it.0).collect();
    let keys: Vec<_> = told.iter().map(key_of).collect();
    assert_eq!(keys, [b"/w/a", b"/w/b", b"/w/a"]);

    let third = write(&client, vec![Write::Delete { key: "/w/a".into() }]).await;
    let parts = changes(&mut watch, third).await;
    assert_eq!(parts.len(), 1);
    let [Change::Deleted { key, modified, previous: Some(previous) }] = &*parts[0].0 else {
        panic!("{parts:?}")
    };
    assert_eq!((&**key, *modified, parts[0].1), (&b"/w/a"[..], third, third));
    assert_eq!((&*previous.value, previous.modified), (&b"2"[..], second));

    let mut later = client.watch("/w/", third, false).await.unwrap();
    let parts = changes(&mut later, third).await;
    assert!(matches!(&*parts[0].0, [Change::Deleted { previous: None, .. }]), "{parts:?}");
}

/// A revision that etcd tells in parts is not whole before the last.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_revision_is_whole_at_its_end() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let lease = client.grant(Duration::from_secs(300)).await.unwrap();
    let mut written = 0;
    for hundred in 0..6 {
        let key = |at| format!("/w/{:03}", hundred * 100 + at);
        let value = || vec![b'x'; 8 << 10].into();
        let keys = (0..100).map(|at| Write::Put { key: key(at), value: value(), lease });
        written = write(&client, keys.collect()).await;
    }
    let mut live = client.watch("/w/", written + 1, true).await.unwrap();
    client.revoke(lease).await.unwrap();
    let gone = client.seen().await.unwrap().revision;
    assert_eq!(gone, written + 1);
    let after = write(&client, vec![put("/w/after", "1")]).await;

    assert_parts(&changes(&mut live, gone).await, written, gone, 600);
    // Also when it catches up, where parts end in any revision.
    let mut late = client.watch("/w/", written + 1, true).await.unwrap();
    assert_parts(&changes(&mut late, gone).await, written, after, 600);
    let mut all = client.watch("/w/", 1, false).await.unwrap();
    let (mut told, mut whole) = (0, 0);
    for (changes, up_to) in changes(&mut all, after).await {
        told += changes.len();
        assert!(up_to >= whole);
        whole = up_to;
    }
    assert_eq!((told, whole), (1201, after));
}

fn assert_parts(parts: &[(Vec<Change>, i64)], before: i64, last: i64, count: usize) {
    let (end, cut) = parts.split_last().unwrap();
    assert!(cut.len() >= 2, "{} parts were told", parts.len());
    assert!(cut.iter().all(|(_, whole)| *whole == before), "whole too early");
    assert!(end.1 > before && end.1 <= last);
    let deleted = parts.iter().flat_map(|(changes, _)| changes);
    let deleted = deleted.filter(|change| {
        matches!(change, Change::Deleted { previous: Some(entry), .. } if entry.value.len() == 8 << 10)
    });
    assert_eq!(deleted.count(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_revision_is_not_watched() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let first = write(&client, vec![put("/w/a", "1")]).await;
    write(&client, vec![put("/w/a", "2")]).await;
    let last = write(&client, vec![put("/w/a", "3")]).await;
    etcd.ctl(&["compact", &last.to_string()]);
    let error = match client.watch("/w/", first, false).await {
        Ok(mut watch) => watch.next().await.unwrap_err(),
        Err(error) => error,
    };
    let is =
        matches!(error, Error::Compacted { asked, oldest } if (asked, oldest) == (first, last));
    assert!(is, "{error}");
    // The oldest that is left is.
    let mut watch = client.watch("/w/", last, false).await.unwrap();
    assert_eq!(changes(&mut watch, last).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_watch_says_that_etcd_is_there() {
    let mut etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    for at in 0..10 {
        write(&client, vec![put("/other", at.to_string())]).await;
    }
    let seen = client.seen().await.unwrap();
    let mut watch = client.watch("/w/", seen.revision + 1, false).await.unwrap();
    for _ in 0..2 {
        assert_eq!(watch.next().await.unwrap(), Told::Alive(seen));
    }
    // Whoever waits only a while for it loses nothing by that.
    let revision = write(&client, vec![put("/w/a", "1")]).await;
    let end = Instant::now() + LONG;
    let told = loop {
        assert!(Instant::now() < end, "nothing was told");
        match timeout(Duration::from_millis(1), watch.next()).await {
            Ok(Ok(Told::Changes { whole, .. })) => break whole,
            Ok(Ok(Told::Alive(_))) | Err(_) => {}
            Ok(Err(error)) => panic!("{error}"),
        }
    };
    assert_eq!(told, revision);

    // One that waits for what will never come is told that, too.
    etcd.wipe().unwrap();
    let now = eventually(&client).await;
    assert!(now.revision < revision);
    let mut watch = client.watch("/w/", revision + 1, false).await.unwrap();
    let Told::Alive(told) = watch.next().await.unwrap() else { panic!("there is nothing new") };
    assert!(told.revision < revision, "{told:?}");
}

/// The first answer after a while without.
async fn eventually(client: &Etcd) -> berth_cluster::peers::etcd::Seen {
    let end = Instant::now() + LONG;
    loop {
        match client.seen().await {
            Ok(seen) => return seen,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

/// The error a watch ends with, and how long it took.
async fn end_of(mut watch: Watch) -> (Error, Duration) {
    let start = Instant::now();
    loop {
        match watch.next().await {
            Ok(told) => assert!(start.elapsed() < LONG, "{told:?}"),
            Err(error) => return (error, start.elapsed()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_etcd() {
    let mut etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let revision = client.seen().await.unwrap().revision;
    let watch = client.watch("/w/", revision + 1, false).await.unwrap();
    etcd.pause().unwrap();
    let (error, took) = end_of(watch).await;
    assert!(matches!(error, Error::Away { .. }), "{error}");
    // On a slow machine it may take somewhat longer than it should.
    assert!(took < 3 * PATIENCE, "{took:?}");
    etcd.resume().unwrap();
    eventually(&client).await;
    let watch = client.watch("/w/", revision + 1, false).await.unwrap();
    etcd.kill();
    let (error, _) = end_of(watch).await;
    assert!(matches!(error, Error::Away { .. }), "{error}");
    let error = client.watch("/w/", revision + 1, false).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Away { .. }), "{error}");
}
