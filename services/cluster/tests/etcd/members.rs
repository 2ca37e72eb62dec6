//! Three members, of which one or the other is missing.

use berth_cluster::Error;
use berth_cluster::peers::etcd::{Etcd, PATIENCE, Watch};
use berth_testkit::EtcdCluster;
use tokio::time::Instant;

use crate::common::{LONG, always, changes, put, settings};

/// Writes once etcd has found a leader; answers the revision.
async fn written(client: &Etcd, value: &str) -> i64 {
    let end = Instant::now() + LONG;
    loop {
        match client.write(&always(), vec![put("/w/a", value)]).await {
            Ok(berth_cluster::peers::etcd::Outcome::Made(revision)) => return revision,
            other => assert!(Instant::now() < end, "{other:?}"),
        }
    }
}

/// Questions come through, and none of them waits for a member that is not there.
async fn works(client: &Etcd) {
    let start = Instant::now();
    for _ in 0..20 {
        client.seen().await.unwrap();
    }
    assert!(start.elapsed() < PATIENCE, "20 questions took {:?}", start.elapsed());
}

async fn watching(client: &Etcd, from: i64) -> Watch {
    let end = Instant::now() + LONG;
    loop {
        match client.watch("/w/", from, false).await {
            Ok(watch) => return watch,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_killed_one_after_another_are_not_missed() {
    let mut cluster = EtcdCluster::start(3).unwrap();
    let client = Etcd::connect(&settings(cluster.endpoints())).await.unwrap();
    let mut from = written(&client, "first").await;
    let mut watch = watching(&client, from).await;
    for at in 0..3 {
        cluster.members[at].kill();
        let revision = written(&client, &format!("without {at}")).await;
        assert!(revision >= from);
        works(&client).await;
        // The watch may have been the killed one's, or have lost its leader.
        let end = Instant::now() + LONG;
        loop {
            match watch.next().await {
                Ok(berth_cluster::peers::etcd::Told::Changes { whole, .. })
                    if whole >= revision =>
                {
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(matches!(error, Error::Away { .. }), "{error}");
                    watch = watching(&client, from).await;
                }
            }
            assert!(Instant::now() < end, "the change was not told");
        }
        from = revision + 1;
        cluster.members[at].restart().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_stopped_cost_one_wait() {
    let cluster = EtcdCluster::start(3).unwrap();
    let client = Etcd::connect(&settings(cluster.endpoints())).await.unwrap();
    for at in 0..3 {
        cluster.members[at].pause().unwrap();
        let revision = written(&client, &format!("without {at}")).await;
        works(&client).await;
        let mut watch = watching(&client, revision).await;
        assert_eq!(changes(&mut watch, revision).await.len(), 1);
        cluster.members[at].resume().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_alone_is_away() {
    let mut cluster = EtcdCluster::start(3).unwrap();
    let client = Etcd::connect(&settings(cluster.endpoints())).await.unwrap();
    let revision = written(&client, "all").await;
    let mut watch = watching(&client, revision + 1).await;
    cluster.members[0].kill();
    cluster.members[1].kill();
    let start = Instant::now();
    let error = client.seen().await.unwrap_err();
    assert!(matches!(error, Error::Away { .. }), "{error}");
    assert!(start.elapsed() < 3 * PATIENCE, "{:?}", start.elapsed());
    // A watch of the one that is left ends as well: it cannot know what is new.
    let end = Instant::now() + LONG;
    let error = loop {
        match watch.next().await {
            Ok(told) => assert!(Instant::now() < end, "{told:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Away { .. }), "{error}");
    cluster.members[0].launch().unwrap();
    cluster.members[1].launch().unwrap();
    written(&client, "again").await;
}
