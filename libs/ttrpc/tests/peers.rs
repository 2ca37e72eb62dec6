//! Who may call a server. Needs root: it calls as others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use berth_testkit::{as_user, ask, is_root};
use berth_ttrpc::{Call, HEADER_LENGTH, Handler, Request, Server, Status};
use bytes::Bytes;
use prost::Message;
use tokio::net::UnixListener;

struct Echo;

impl Handler for Echo {
    async fn call(&self, call: Call) -> Result<Bytes, Status> {
        Ok(call.payload)
    }
}

/// A request as it is on the wire: length, stream 1, type 1.
fn request() -> Vec<u8> {
    let payload = Bytes::from_static(b"echoed");
    let request =
        Request { service: "s".into(), method: "Echo".into(), payload, ..Request::default() };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let header = [&length[..], &[0, 0, 0, 1, 1, 0]].concat();
    assert_eq!(header.len(), HEADER_LENGTH);
    [header, message].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_gets_no_answer_even_where_the_socket_lets_it_in() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&*path, 0o666)] {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let stop = async { drop(stopped.await) };
        Server::new(Arc::new(Echo)).serve(listener, stop, Duration::from_secs(1)).await
    });
    let answered = || ask(&path, &request()).unwrap().windows(6).any(|part| part == b"echoed");
    assert!(answered());
    assert_eq!(as_user(65534, || ask(&path, &request())).unwrap().unwrap(), b"");
    assert!(answered(), "the refusal has ended the server");
    drop(stop);
    serving.join_next().await.unwrap().unwrap().unwrap();
}
