//! A process without descriptors keeps its connections. The only test of its program, whose limit it sets.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Read;
use std::time::Duration;

use berth_grpc::Socket;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// More than the kernel takes at once.
const SIZE: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_does_not_take_at_once_arrives_without_a_descriptor_to_wait_with() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut socket = Socket::new(ours).unwrap();
    let mut theirs = theirs.into_std().unwrap();
    theirs.set_nonblocking(false).unwrap();
    // All of the few numbers that may be are taken.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(4), ..limit }).unwrap();
    assert!(UnixStream::pair().is_err(), "descriptors are left");
    let sent = vec![7; SIZE];
    let mut writing = Box::pin(socket.write_all(&sent));
    let early = tokio::time::timeout(Duration::from_millis(50), writing.as_mut()).await;
    assert!(early.is_err(), "all was taken at once, or the connection has ended: {early:?}");
    let reading = std::thread::spawn(move || {
        let mut came = vec![0; SIZE];
        theirs.read_exact(&mut came).map(|()| came)
    });
    tokio::time::timeout(Duration::from_secs(60), writing).await.unwrap().unwrap();
    let came = reading.join().unwrap().unwrap();
    assert!(came == sent);
    setrlimit(Resource::Nofile, limit).unwrap();
}
