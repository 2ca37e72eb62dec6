//! Certificates, users and rights.

use std::time::Duration;

use berth_cluster::Error;
use berth_cluster::peers::etcd::{Etcd, Settings, Write};
use berth_testkit::{Authority, EtcdOptions};
use tempfile::TempDir;

use crate::common::{LONG, always, changes, put, settings, write};

fn certified(etcd: &berth_testkit::Etcd, ca: &Authority, own: &Authority) -> Settings {
    own.issue_to("client", "berth", "DNS:localhost").unwrap();
    Settings {
        ca: Some(ca.path("ca.pem")),
        cert: Some(own.path("client.pem")),
        key: Some(own.path("client.key")),
        ..settings(etcd.endpoints())
    }
}

async fn refused(settings: &Settings) -> Error {
    Etcd::connect(settings).await.map(drop).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_shown_and_checked() {
    let (ours, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let options = EtcdOptions { tls: Some(&ours), ..EtcdOptions::default() };
    let etcd = berth_testkit::Etcd::start_with(&options).unwrap();
    let good = certified(&etcd, &ours, &ours);
    let client = Etcd::connect(&good).await.unwrap();
    let revision = write(&client, vec![put("/a", "1")]).await;
    let mut watch = client.watch("/", revision, false).await.unwrap();
    changes(&mut watch, revision).await;

    let stranger = Settings { server_name: Some("localhost".into()), ..good.clone() };
    Etcd::connect(&stranger).await.unwrap();
    let stranger = Settings { server_name: Some("example.org".into()), ..good.clone() };
    let error = refused(&stranger).await;
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
    let error = refused(&certified(&etcd, &other, &ours)).await;
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
    // Go ends the connection in its own time: its words are not always heard.
    let shown = certified(&etcd, &ours, &other);
    let error = refused(&shown).await;
    assert!(matches!(error, Error::Certificate { .. } | Error::Away { .. }), "{error}");
    let error = refused(&Settings { cert: None, key: None, ..good.clone() }).await;
    assert!(matches!(error, Error::Certificate { .. } | Error::Away { .. }), "{error}");
    ours.issue_expired("old", "DNS:localhost").unwrap();
    let (old, key) = (ours.path("old.pem"), ours.path("old.key"));
    let error =
        refused(&Settings { cert: Some(old.clone()), key: Some(key), ..good.clone() }).await;
    let told = format!("certificate {} has run out", old.display());
    assert!(error.to_string().contains(&told), "{error}");

    for file in ["client.pem", "client.key"] {
        fs_err::copy(ours.path(file), other.path(file)).unwrap();
    }
    Etcd::connect(&shown).await.unwrap();
    fs_err::write(other.path("client.pem"), "nothing").unwrap();
    let error = refused(&shown).await;
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
    // The connection that is there is not touched by that.
    assert!(client.get("/a").await.unwrap().0.is_some());
}

/// An etcd with a user `berth` that may do what docs/cluster.md tells operators to allow.
fn with_users(args: &[&str]) -> (berth_testkit::Etcd, TempDir, Settings) {
    let args = args.iter().map(|arg| (*arg).to_owned());
    // Passwords are to be checked quickly here.
    let args = args.chain(["--bcrypt-cost=4".to_owned()]).collect();
    let etcd = berth_testkit::Etcd::start_with(&EtcdOptions { args, ..EtcdOptions::default() });
    let etcd = etcd.unwrap();
    etcd.ctl(&["user", "add", "root:root"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["role", "add", "berth"]);
    etcd.ctl(&["role", "grant-permission", "--prefix", "berth", "readwrite", "/berth/c/"]);
    etcd.ctl(&["user", "add", "berth:secret"]);
    etcd.ctl(&["user", "grant-role", "berth", "berth"]);
    etcd.ctl(&["auth", "enable"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs_err::write(&file, "secret\n").unwrap();
    let settings = Settings {
        user: Some("berth".into()),
        password_file: Some(file),
        probe: "/berth/c/v1/".into(),
        ..settings(etcd.endpoints())
    };
    (etcd, dir, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_role_is_enough_and_not_more() {
    let (_etcd, _dir, settings) = with_users(&[]);
    let client = Etcd::connect(&settings).await.unwrap();
    let lease = client.grant(Duration::from_secs(60)).await.unwrap();
    let under = |key: &str| Write::Put { key: key.into(), value: "1".into(), lease };
    let within = berth_cluster::peers::etcd::If::Absent("/berth/c/none".into());
    client.write(&within, vec![under("/berth/c/a"), under("/berth/c/b")]).await.unwrap();
    assert!(client.get("/berth/c/a").await.unwrap().0.is_some());
    let revision = client.seen().await.unwrap().revision;
    let page = client.page("/berth/c/", None, revision, 10).await.unwrap();
    assert_eq!(page.entries.len(), 2);
    let mut watch = client.watch("/berth/c/", revision, true).await.unwrap();
    assert_eq!(changes(&mut watch, revision).await.len(), 1);
    client.renew(lease, LONG).await.unwrap();
    client.revoke(lease).await.unwrap();
    assert!(client.get("/berth/c/a").await.unwrap().0.is_none());

    let errors = [
        client.get("/berth/d/a").await.map(drop),
        client.page("/berth/", None, 0, 10).await.map(drop),
        client.write(&within, vec![put("/berth/d/a", "1")]).await.map(drop),
        client.write(&always(), vec![put("/berth/c/a", "1")]).await.map(drop),
        client.watch("/berth/d/", 1, false).await.map(drop),
        client.watch("/", 1, false).await.map(drop),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Forbidden { .. }), "{error}");
        assert!(error.to_string().contains("permission denied"), "{error}");
    }
    assert!(client.get("/berth/c/a").await.unwrap().0.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_is_refused() {
    let (_etcd, dir, known) = with_users(&[]);
    let error = refused(&Settings { user: None, password_file: None, ..known.clone() }).await;
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    let error = refused(&Settings { user: Some("nobody".into()), ..known.clone() }).await;
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    fs_err::write(dir.path().join("password"), "wrong").unwrap();
    let error = refused(&known).await;
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    fs_err::remove_file(dir.path().join("password")).unwrap();
    let error = refused(&known).await;
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_passwords_are_made_anew_without_a_restart() {
    let (mut etcd, dir, settings) = with_users(&["--auth-token-ttl=1"]);
    let client = Etcd::connect(&settings).await.unwrap();
    let within = berth_cluster::peers::etcd::If::Absent("/berth/c/none".into());
    // It is the time of tokens that passes here.
    tokio::time::sleep(Duration::from_secs(4)).await;
    client.write(&within, vec![put("/berth/c/a", "1")]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let revision = client.seen().await.unwrap().revision;
    let mut watch = client.watch("/berth/c/", revision, false).await.unwrap();
    changes(&mut watch, revision).await;

    // An etcd that was started again knows no token.
    etcd.restart().unwrap();
    assert!(client.get("/berth/c/a").await.unwrap().0.is_some());
    // The user's end makes tokens worthless. Another password is read when it is needed.
    etcd.ctl(&["--user", "root:root", "user", "delete", "berth"]);
    let error = client.get("/berth/c/a").await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    etcd.ctl(&["--user", "root:root", "user", "add", "berth:new"]);
    etcd.ctl(&["--user", "root:root", "user", "grant-role", "berth", "berth"]);
    fs_err::write(dir.path().join("password"), "new").unwrap();
    assert!(client.get("/berth/c/a").await.unwrap().0.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_may_be_switched_on_and_off() {
    let (etcd, _dir, settings) = with_users(&[]);
    let client = Etcd::connect(&settings).await.unwrap();
    etcd.ctl(&["--user", "root:root", "auth", "disable"]);
    client.seen().await.unwrap();
    // A connection that is made meanwhile is nobody's, until it has to be somebody's.
    let other = Etcd::connect(&settings).await.unwrap();
    etcd.ctl(&["auth", "enable"]);
    other.seen().await.unwrap();
    client.seen().await.unwrap();
}
