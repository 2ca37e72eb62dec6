//! What happens while etcd does not do what it should.

use std::time::Duration;

use berth_cluster::Error;
use berth_cluster::peers::etcd::{Etcd, PATIENCE, Write};
use berth_testkit::EtcdOptions;
use tokio::time::Instant;

use crate::common::{LONG, always, connect, put, settings, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_is_told_and_works_again_once_it_has_room() {
    let options = EtcdOptions { quota_bytes: Some(8 << 20), ..EtcdOptions::default() };
    let etcd = berth_testkit::Etcd::start_with(&options).unwrap();
    let client = connect(&etcd).await;
    let lease = client.grant(Duration::from_secs(300)).await.unwrap();
    write(&client, vec![put("/small", "1")]).await;
    let mut written = 0;
    let error = loop {
        match client.write(&always(), vec![put("/large", vec![written; 256 << 10])]).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 200, "it takes more than it should");
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let error = client.grant(Duration::from_secs(300)).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    // What takes no room is done.
    client.renew(lease, LONG).await.unwrap();
    assert!(client.get("/small").await.unwrap().0.is_some());
    let revision = write(&client, vec![Write::Delete { key: "/small".into() }]).await;
    let mut watch = client.watch("/", revision, false).await.unwrap();
    assert_eq!(crate::common::changes(&mut watch, revision).await.len(), 1);

    etcd.ctl(&["compact", &revision.to_string()]);
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
    write(&client, vec![put("/small", "2")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_not_waited_for_without_end() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let lease = client.grant(Duration::from_secs(300)).await.unwrap();
    etcd.pause().unwrap();
    let (start, always) = (Instant::now(), always());
    let (seen, renewed, written) = tokio::join!(
        client.seen(),
        client.renew(lease, LONG),
        client.write(&always, vec![put("/a", "1")]),
    );
    assert!(start.elapsed() < 3 * PATIENCE, "{:?}", start.elapsed());
    for error in [seen.map(drop), renewed.map(drop), written.map(drop)] {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Away { .. }), "{error}");
        assert!(error.to_string().contains(&etcd.endpoint()), "{error}");
    }
    let error = Etcd::connect(&settings(etcd.endpoints())).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Away { .. }), "{error}");
    etcd.resume().unwrap();
    works_again(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_etcd_is_found_again() {
    let mut etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    write(&client, vec![put("/a", "1")]).await;
    for _ in 0..3 {
        etcd.restart().unwrap();
        // What may be asked twice does not even notice.
        assert!(client.get("/a").await.unwrap().0.is_some());
    }
    etcd.kill();
    let error = client.get("/a").await.unwrap_err();
    assert!(matches!(error, Error::Away { .. }), "{error}");
    etcd.launch().unwrap();
    works_again(&client).await;
    assert!(client.get("/a").await.unwrap().0.is_some());
}

async fn works_again(client: &Etcd) {
    let end = Instant::now() + LONG;
    while let Err(error) = client.write(&always(), vec![put("/again", "1")]).await {
        assert!(matches!(error, Error::Away { .. }), "{error}");
        assert!(Instant::now() < end, "{error}");
    }
}
