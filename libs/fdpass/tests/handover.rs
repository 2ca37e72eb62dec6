//! Owner and user against each other.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_fdpass::{Error, FdServer, MAX_OFFERS, OFFER_LIFETIME, Token, claim};
use berth_lifecycle::Tasks;
use rustix::net::{RecvFlags, recv};

const SOON: Duration = Duration::from_secs(30);

struct Owner {
    _dir: tempfile::TempDir,
    path: PathBuf,
    tasks: Tasks,
    server: FdServer,
}

fn owner() -> Owner {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fd.sock");
    let tasks = Tasks::new();
    let server = FdServer::bind(&path, &tasks).unwrap();
    Owner { _dir: dir, path, tasks, server }
}

fn file(text: &str) -> std::os::fd::OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file.into()
}

#[tokio::test]
async fn a_descriptor_arrives_once() {
    let owner = owner();
    let token = owner.server.offer(file("layer")).unwrap();
    let token: Token = token.as_str().parse().unwrap();
    let claimed = claim(&owner.path, &token, SOON).await.unwrap();
    let mut text = String::new();
    std::fs::File::from(claimed).read_to_string(&mut text).unwrap();
    assert_eq!(text, "layer");
    let again = claim(&owner.path, &token, SOON).await.unwrap_err();
    assert!(matches!(again, Error::Gone(_)), "{again}");
    assert!(owner.tasks.drain(SOON).await.is_empty());
}

#[tokio::test]
async fn an_unclaimed_descriptor_is_closed_when_it_expires() {
    let owner = owner();
    let (reader, writer) = std::io::pipe().unwrap();
    let token = owner.server.offer(writer.into()).unwrap();
    tokio::time::pause();
    tokio::time::sleep(OFFER_LIFETIME + Duration::from_millis(10)).await;
    tokio::time::resume();
    // The write end was the only one: its end shows that the owner closed it.
    let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).unwrap();
    let mut nothing = [0];
    let read = tokio::io::AsyncReadExt::read(&mut reader, &mut nothing);
    assert_eq!(tokio::time::timeout(SOON, read).await.unwrap().unwrap(), 0);
    let late = claim(&owner.path, &token, SOON).await.unwrap_err();
    assert!(matches!(late, Error::Gone(_)), "{late}");
}

#[tokio::test]
async fn offers_are_bounded_and_can_be_withdrawn() {
    let owner = owner();
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    let first = owner.server.offer(null()).unwrap();
    for _ in 1..MAX_OFFERS {
        owner.server.offer(null()).unwrap();
    }
    assert!(matches!(owner.server.offer(null()), Err(Error::Full)));
    assert!(owner.server.withdraw(&first) && !owner.server.withdraw(&first));
    owner.server.offer(null()).unwrap();
}

#[tokio::test]
async fn an_owner_that_is_away_or_silent_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fd.sock");
    let token: Token = "0".repeat(32).parse().unwrap();
    let away = claim(&path, &token, SOON).await.unwrap_err();
    assert!(away.to_string().contains("fd.sock"), "{away}");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let silent = claim(&path, &token, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(silent, Error::Deadline { .. }), "{silent}");
    assert!(matches!("x".parse::<Token>(), Err(Error::Malformed)));
}

/// The kernel resets a connection whose holder dies with what was sent to it unread.
#[tokio::test]
async fn an_owner_that_ends_meanwhile_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let token: Token = "0".repeat(32).parse().unwrap();
    let (unread, read) = (RecvFlags::PEEK, RecvFlags::WAITALL);
    for (name, how) in [("unread.sock", unread), ("read.sock", read)] {
        let path = dir.path().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let owner = std::thread::spawn(move || {
            let (claimant, _) = listener.accept().unwrap();
            recv(&claimant, &mut [0; 32], how).unwrap()
        });
        let error = claim(&path, &token, SOON).await.unwrap_err();
        assert_eq!(owner.join().unwrap().0, token.as_str().len());
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
