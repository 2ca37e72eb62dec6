//! Whether the services of a node can do their work. The only test of its program: there is one set of
//! checks for each, which the services here share.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use berth_config::Service;
use berth_lifecycle::{Tasks, check};
use berth_testkit::Killable;
use common::{Node, fakes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;

/// What the node says, after its status.
async fn ready(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut told = String::new();
    stream.read_to_string(&mut told).await?;
    let (head, text) = told.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    Ok(format!("{status} {text}"))
}

/// Waits until it says what `is` wants: a service may be late to answer on a busy machine.
async fn becomes(at: SocketAddr, is: impl Fn(&str) -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let told = ready(at).await.unwrap();
        if is(&told) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A service of the version before, which has no more than gRPC there.
fn start_of_before(node: &Node, service: Service) -> Killable {
    let socket = node.config.socket(service);
    Killable::start(&socket, || {
        let _ = std::fs::remove_file(&socket);
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        let server = tonic::transport::Server::builder().add_routes(fakes::parts("before"));
        Tasks::new().spawn("before", server.serve_with_incoming(incoming));
    })
}

#[tokio::test]
async fn a_node_tells_the_reasons_of_its_services() {
    let mut node = Node::new("100ms");
    node.live.observed.at("127.0.0.1:0").unwrap();
    let at = node.live.observed.address().unwrap();
    let _distribution = node.start(Service::Distribution, fakes::parts("distribution"));
    let _bundle = start_of_before(&node, Service::Bundle);
    let runtime = node.start(Service::Runtime, fakes::parts("runtime"));
    let well = "200 distribution: ok\nbundle: ok\nruntime: ok\n";
    becomes(at, |told| told == well).await;
    check("store", || async { Err("store a cannot be written") });
    check("tea", || async { Err("tea is out") });
    let reasons = "503 distribution: store a cannot be written\ndistribution: tea is out\nbundle: ok\n\
         runtime: store a cannot be written\nruntime: tea is out\n";
    becomes(at, |told| told == reasons).await;
    for name in ["store", "tea"] {
        check(name, || async { Ok::<_, String>(()) });
    }
    becomes(at, |told| told == well).await;
    runtime.kill();
    let away = "503 distribution: ok\nbundle: ok\nruntime: ";
    becomes(at, |told| told.starts_with(away) && !told.ends_with(": ok\n")).await;
}
