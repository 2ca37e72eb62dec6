//! Owner and user check each other's user. Needs root: it speaks as others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{Permissions, set_permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_fdpass::{FdServer, Token, claim};
use berth_lifecycle::Tasks;
use berth_testkit::{as_user, ask, is_root};

const SOON: Duration = Duration::from_secs(10);
const OTHER: u32 = 65534;

fn allow(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_does_not_get_what_a_token_stands_for() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fd.sock");
    let tasks = Tasks::new();
    let server = FdServer::bind(&path, &tasks).unwrap();
    allow(dir.path(), 0o755);
    allow(&path, 0o666);
    let offer = || server.offer(tempfile::tempfile().unwrap().into()).unwrap();
    assert_eq!(ask(&path, offer().as_str().as_bytes()).unwrap(), b"+");
    let token = offer();
    let stolen = as_user(OTHER, || ask(&path, token.as_str().as_bytes())).unwrap();
    assert_eq!(stolen.unwrap(), b"");
    claim(&path, &token, SOON).await.unwrap();
    assert!(tasks.drain(SOON).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_told_to_another_user_that_has_taken_the_owners_place() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    allow(dir.path(), 0o777);
    let path = dir.path().join("fd.sock");
    let listener = as_user(OTHER, || UnixListener::bind(&path)).unwrap().unwrap();
    let token: Token = "0".repeat(32).parse().unwrap();
    let refused = claim(&path, &token, SOON).await.unwrap_err();
    assert!(refused.to_string().contains("neither root nor we"), "{refused}");
    assert_eq!(refused.code(), Code::Internal);
    let (mut claimant, _) = listener.accept().unwrap();
    let mut told = Vec::new();
    claimant.set_read_timeout(Some(SOON)).unwrap();
    claimant.read_to_end(&mut told).unwrap();
    assert_eq!(told, b"");
}
