//! What changes while the gateway runs.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use berth_config::{HumanDuration, Service};
use berth_grpc::Channel;
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use common::fakes::{self, Seen};
use common::{Node, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

/// What is said there of the gateway's health.
async fn health(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut told = String::new();
    stream.read_to_string(&mut told).await?;
    Ok(told)
}

async fn is_healthy(at: SocketAddr) {
    let told = health(at).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
}

/// Nobody listens there any more, or will soon.
async fn is_left(at: SocketAddr) {
    eventually("the address is left", || std::net::TcpStream::connect(at).is_err()).await;
}

#[tokio::test]
async fn the_address_of_metrics_moves_and_one_that_is_taken_changes_nothing() {
    let mut node = Node::new("100ms");
    let observed = &mut node.live.observed;
    assert_eq!(observed.address(), None);
    observed.at("127.0.0.1:0").unwrap();
    let first = observed.address().unwrap();
    is_healthy(first).await;
    observed.at("127.0.0.1:0").unwrap();
    assert_eq!(observed.address(), Some(first), "nothing has changed");

    // Somebody who is slow there does not keep it.
    let _slow = TcpStream::connect(first).await.unwrap();
    observed.at("127.0.0.2:0").unwrap();
    let second = observed.address().unwrap();
    is_healthy(second).await;
    is_left(first).await;

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|at| (taken, at.to_string())).unwrap();
    let error = observed.at(&taken.1).unwrap_err();
    assert_eq!(error.to_string(), format!("listen on metrics.address {:?}", taken.1));
    assert!(observed.at("nowhere").is_err());
    assert_eq!(observed.address(), Some(second));
    is_healthy(second).await;

    observed.at("").unwrap();
    assert_eq!(observed.address(), None);
    is_left(second).await;
}

fn ask() -> TransferRequest {
    TransferRequest::default()
}

#[tokio::test]
async fn a_bound_of_connections_follows_the_configuration_as_they_end() {
    let node = Node::with("max_connections = 1");
    let _process = node.start(Service::Distribution, fakes::echo(&Seen::default()));
    let connect = || TransferClient::new(berth_grpc::channel(&node.config.address));
    let set = |max_connections| {
        let mut config = node.config.clone();
        config.gateway.max_connections = max_connections;
        node.live.bounds.apply(&config);
    };
    let waiting = |mut client: TransferClient<Channel>| {
        node.tasks.spawn("client", async move {
            client.transfer(ask()).await.unwrap();
            client
        })
    };
    let mut first = connect();
    first.transfer(ask()).await.unwrap();
    let second = waiting(connect());
    for _ in 0..100 {
        first.transfer(ask()).await.unwrap();
    }
    assert!(!second.is_finished(), "a second connection was served");
    set(2);
    let mut second = second.await.unwrap();

    // Nobody is cut off by a smaller bound.
    set(1);
    let third = waiting(connect());
    first.transfer(ask()).await.unwrap();
    drop(first);
    for _ in 0..100 {
        second.transfer(ask()).await.unwrap();
    }
    assert!(!third.is_finished(), "one connection was one too many still");
    drop(second);
    tokio::time::timeout(Duration::from_secs(60), third).await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_wait_as_long_as_is_configured_meanwhile() {
    let node = Node::new("1h");
    let mut config = node.config.clone();
    config.gateway.wait = HumanDuration(Duration::from_millis(50));
    node.live.bounds.apply(&config);
    let mut client = TransferClient::new(node.channel.clone());
    let answered = tokio::time::timeout(Duration::from_secs(60), client.transfer(ask())).await;
    let away = answered.expect("it waits for an hour").unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
}
