//! Who may speak to a service. Needs root: it speaks as others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use berth_grpc::server::{Incoming, bind, serve};
use berth_lifecycle::Tasks;
use berth_testkit::{as_user, ask, is_root};
use tokio_stream::StreamExt;
use tonic::service::Routes;

const OTHER: u32 = 65534;

/// What an HTTP/2 client says first: the preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The type of a frame of settings, and where it is.
const SETTINGS: (usize, u8) = (3, 4);

/// A folder that all may look into.
fn open_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_gets_no_answer_even_where_the_socket_lets_it_in() {
    if !is_root() {
        return;
    }
    let dir = open_folder();
    let path = dir.path().join("s.sock");
    let tasks = Tasks::new();
    let (_, health) = tonic_health::server::health_reporter();
    serve(&path, 0o666, Routes::new(health), &tasks).unwrap();
    let answered = || ask(&path, HELLO).unwrap().get(SETTINGS.0) == Some(&SETTINGS.1);
    assert!(answered());
    assert_eq!(as_user(OTHER, || ask(&path, HELLO)).unwrap().unwrap(), b"");
    assert!(answered(), "the refusal has ended the server");
    assert!(tasks.drain(Duration::from_secs(30)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_root_serves_its_own_user_and_root() {
    if !is_root() {
        return;
    }
    let dir = open_folder();
    let path = dir.path().join("s.sock");
    let listener = bind(&path, 0o666).unwrap();
    let mut incoming = as_user(OTHER, || Incoming::new(listener)).unwrap();
    let connect = || std::os::unix::net::UnixStream::connect(&path).unwrap();
    // The refused one is first: whoever comes after it is heard all the same.
    let _refused = as_user(OTHER - 1, connect).unwrap();
    for uid in [OTHER, 0] {
        let _ours = as_user(uid, connect).unwrap();
        let next = tokio::time::timeout(Duration::from_secs(30), incoming.next()).await;
        let peer = next.unwrap().unwrap().unwrap().peer_cred().unwrap();
        assert_eq!(peer.uid(), uid);
    }
}
