//! Services that are away, come back, or break off: what a client sees of it.

#![allow(clippy::disallowed_methods, reason = "the test joins or aborts its tasks itself")]

mod common;

use std::time::{Duration, Instant};

use berth_config::Service;
use berth_gateway::ending::end;
use berth_proto::containerd::services::streaming::v1::streaming_client::StreamingClient;
use berth_proto::containerd::services::tasks::v1::ListTasksRequest;
use berth_proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use common::fakes::{self, Seen};
use common::{Node, eventually};
use futures::StreamExt;
use prost_types::Any;
use tonic::{Code, Request};

fn ask(what: &str) -> Request<TransferRequest> {
    let source = Some(Any { type_url: what.into(), value: Vec::new() });
    Request::new(TransferRequest { source, ..Default::default() })
}

#[tokio::test]
async fn calls_wait_for_a_service_that_starts_and_again_after_each_kill() {
    let node = Node::new("10s");
    for _ in 0..3 {
        let seen = Seen::default();
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let mut client = TransferClient::new(node.channel.clone());
                tokio::spawn(async move { client.transfer(ask("echo")).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let process = node.start(Service::Distribution, fakes::echo(&seen));
        for call in waiting {
            call.await.unwrap().expect("answered once the service is there");
        }
        assert_eq!(seen.calls(), 20, "each call once");
        process.kill();
    }
}

#[tokio::test]
async fn a_service_that_stays_away_is_unavailable_by_name_and_advice() {
    let node = Node::new("150ms");
    let started = Instant::now();
    let mut client = TransferClient::new(node.channel.clone());
    let error = client.transfer(ask("echo")).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!(error.code(), Code::Unavailable);
    for part in ["berth-distribution", "distribution.sock", "journalctl", "No such file"] {
        assert!(error.message().contains(part), "{part} in {}", error.message());
    }
}

#[tokio::test]
async fn a_shorter_deadline_ends_the_wait() {
    let node = Node::new("60s");
    let started = Instant::now();
    let mut request = ask("echo");
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let mut client = TransferClient::new(node.channel.clone());
    let error = client.transfer(request).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(
        matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled),
        "{error:?}"
    );
}

/// What was sent is not sent again: it may have had an effect.
#[tokio::test]
async fn a_call_that_a_killed_service_held_is_not_replayed() {
    let (node, seen) = (Node::new("10s"), Seen::default());
    let process = node.start(Service::Distribution, fakes::echo(&seen));
    let mut client = TransferClient::new(node.channel.clone());
    let call = tokio::spawn(async move { client.transfer(ask("hang")).await });
    eventually("the call arrives", || seen.calls() == 1).await;
    process.kill();
    let _process = node.start(Service::Distribution, fakes::echo(&seen));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(error.message().contains("may have been carried out"), "{}", error.message());
    TransferClient::new(node.channel.clone()).transfer(ask("echo")).await.unwrap();
    assert_eq!(seen.calls(), 2, "the held call and the new one");
}

#[tokio::test]
async fn a_stream_of_a_killed_service_ends_with_a_status() {
    let (node, seen) = (Node::new("10s"), Seen::default());
    let process = node.start(Service::Distribution, fakes::echo(&seen));
    let outgoing = futures::stream::iter([Any::default()]).chain(futures::stream::pending());
    let mut client = StreamingClient::new(node.channel.clone());
    let mut incoming = client.stream(outgoing).await.unwrap().into_inner();
    incoming.message().await.unwrap();
    process.kill();
    let error = incoming.message().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(error.message().contains("berth-distribution"), "{}", error.message());
}

/// A service that is away does not keep the others from answering.
#[tokio::test]
async fn other_services_go_on() {
    let (node, seen) = (Node::new("60s"), Seen::default());
    let _process = node.start(Service::Distribution, fakes::echo(&seen));
    let mut away = TasksClient::new(node.channel.clone());
    let waiting = tokio::spawn(async move { away.list(ListTasksRequest::default()).await });
    TransferClient::new(node.channel.clone()).transfer(ask("echo")).await.unwrap();
    assert!(!waiting.is_finished());
    waiting.abort();
}

/// What is under way when the gateway ends has its bound, and then a code.
#[tokio::test]
async fn a_gateway_that_ends_cuts_off_what_takes_longer_than_its_bound() {
    let (node, seen) = (Node::new("10s"), Seen::default());
    let _process = node.start(Service::Distribution, fakes::echo(&seen));
    let mut hangs = TransferClient::new(node.channel.clone());
    let hangs = tokio::spawn(async move { hangs.transfer(ask("hang")).await });
    eventually("the call arrives", || seen.calls() == 1).await;
    let outgoing = futures::stream::iter([Any::default()]).chain(futures::stream::pending());
    let mut client = StreamingClient::new(node.channel.clone());
    let mut incoming = client.stream(outgoing).await.unwrap().into_inner();
    incoming.message().await.unwrap();
    let Node { tasks, live, channel, .. } = node;
    let bound = Duration::from_millis(500);
    let begun = Instant::now();
    let (left, stream, call) =
        tokio::join!(end(&tasks, &live.upstream, bound), incoming.message(), hangs);
    assert!(begun.elapsed() >= bound);
    for error in [stream.unwrap_err(), call.unwrap().unwrap_err()] {
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        assert!(error.message().contains("service berth-distribution broke off"), "{error:?}");
    }
    assert_eq!(left, Vec::<&str>::new(), "the connections end by themselves then");
    drop((channel, live));
}
