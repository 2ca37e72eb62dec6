//! Calls through the gateway: bodies, trailers, errors, deadlines and cancellation arrive as sent.

#![allow(clippy::disallowed_methods, reason = "the test joins or aborts its tasks itself")]

mod common;

use std::time::Duration;

use berth_config::Service;
use berth_proto::berth::node::v1::OpenBlobRequest;
use berth_proto::berth::node::v1::blobs_client::BlobsClient;
use berth_proto::containerd::services::streaming::v1::streaming_client::StreamingClient;
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use berth_testkit::Killable;
use common::fakes::{self, Seen};
use common::raw::{HEADERS, Raw};
use common::{Node, eventually};
use futures::StreamExt;
use prost::Message;
use prost_types::Any;
use tonic::{Code, Request};

fn node() -> (Node, Killable, Seen) {
    let (node, seen) = (Node::new("10s"), Seen::default());
    let process = node.start(Service::Distribution, fakes::echo(&seen));
    (node, process, seen)
}

fn ask(what: &str) -> Request<TransferRequest> {
    let source = Some(any(what, 0));
    Request::new(TransferRequest { source, ..Default::default() })
}

fn any(what: &str, size: usize) -> Any {
    Any { type_url: what.into(), value: vec![7; size] }
}

#[tokio::test]
async fn a_call_and_its_metadata_pass_both_ways() {
    let (node, _process, seen) = node();
    let mut request = ask("echo");
    request.metadata_mut().insert("containerd-namespace", "k8s.io".parse().unwrap());
    let response = TransferClient::new(node.channel.clone()).transfer(request).await.unwrap();
    assert_eq!(response.metadata().get("seen-containerd-namespace").unwrap(), "k8s.io");
    assert_eq!(seen.calls(), 1);
}

/// No spans are kept here, so that it is not ours to say what the call is part of, nor whether that is right.
#[tokio::test]
async fn the_trace_that_a_client_names_passes_as_it_came() {
    let (node, _process, _) = node();
    let mut client = TransferClient::new(node.channel.clone());
    for parent in [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what comes later",
        "none",
    ] {
        let mut request = ask("echo");
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        request.metadata_mut().insert("tracestate", "a=1, b=2 ,".parse().unwrap());
        let seen = client.transfer(request).await.unwrap();
        assert_eq!(seen.metadata().get("seen-traceparent").unwrap(), parent);
        assert_eq!(seen.metadata().get("seen-tracestate").unwrap(), "a=1, b=2 ,");
    }
    let seen = client.transfer(ask("echo")).await.unwrap();
    assert_eq!(seen.metadata().get("seen-traceparent"), None, "none is made up");
}

#[tokio::test]
async fn an_error_without_body_keeps_code_text_and_details() {
    let (node, _process, _) = node();
    let mut client = TransferClient::new(node.channel.clone());
    let error = client.transfer(ask("fail")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(error.message(), fakes::ERROR);
    assert_eq!(error.details(), [1, 2, 3]);
}

#[tokio::test]
async fn a_stream_passes_both_ways_up_to_its_error() {
    let (node, _process, _) = node();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = StreamingClient::new(node.channel.clone());
    let mut incoming = client.stream(outgoing).await.unwrap().into_inner();
    for n in 0..3 {
        let sent = any("message", n);
        sender.send(sent.clone()).await.unwrap();
        assert_eq!(incoming.message().await.unwrap(), Some(sent));
    }
    sender.send(any("fail", 0)).await.unwrap();
    let error = incoming.message().await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::DataLoss, "in the midst"));
}

/// The service is there, but its handler is not: HTTP/2's reason says so, and no more.
#[tokio::test]
async fn a_stream_that_the_service_resets_ends_with_what_the_reason_stands_for() {
    let (node, _process, _) = node();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = StreamingClient::new(node.channel.clone());
    let mut incoming = client.stream(outgoing).await.unwrap().into_inner();
    sender.send(any("message", 1)).await.unwrap();
    assert!(incoming.message().await.unwrap().is_some());
    sender.send(any("panic", 0)).await.unwrap();
    let error = incoming.message().await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled, "{error:?}");
    assert!(error.message().contains("h2 protocol error"), "{error:?}");
}

/// The service answers, without a body, while the client still sends.
#[tokio::test]
async fn a_stream_refused_before_its_end_shows_the_refusal() {
    let (node, _process, _) = node();
    for _ in 0..50 {
        let endless = futures::stream::repeat_with(|| any("message", 64 << 10));
        let mut request = Request::new(endless);
        request.metadata_mut().insert("refuse", "yes".parse().unwrap());
        let mut client = StreamingClient::new(node.channel.clone());
        let error = client.stream(request).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
    }
}

#[tokio::test]
async fn messages_of_sixteen_mebibytes_pass() {
    let (node, _process, _) = node();
    let limit = berth_grpc::MAX_MESSAGE;
    let client = StreamingClient::new(node.channel.clone()).max_decoding_message_size(limit);
    let mut client = client.max_encoding_message_size(limit);
    // Type, tags and lengths are the rest of the message.
    let sent = any("message", limit - 32);
    let outgoing = futures::stream::iter([sent.clone(), sent.clone()]);
    let mut incoming = client.stream(outgoing).await.unwrap().into_inner();
    for _ in 0..2 {
        assert!(incoming.message().await.unwrap() == Some(sent.clone()));
    }
    assert!(incoming.message().await.unwrap().is_none());
}

/// A stream whose messages nobody takes fills its own window and no more.
#[tokio::test]
async fn a_stalled_stream_does_not_hold_up_others() {
    let (node, _process, _) = node();
    let endless = futures::stream::repeat_with(|| any("message", 1 << 20));
    let mut client = StreamingClient::new(node.channel.clone());
    let _stalled = client.stream(endless).await.unwrap();
    for _ in 0..20 {
        let mut client = TransferClient::new(node.channel.clone());
        let answered = tokio::time::timeout(Duration::from_secs(5), client.transfer(ask("echo")));
        answered.await.expect("is not held up").unwrap();
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_call_at_the_service() {
    let (node, _process, seen) = node();
    let mut client = TransferClient::new(node.channel.clone());
    let call = tokio::spawn(async move { client.transfer(ask("hang")).await });
    eventually("the call arrives", || seen.calls() == 1).await;
    call.abort();
    eventually("the call is dropped", || seen.dropped() == 1).await;
}

#[tokio::test]
async fn an_upload_that_is_taken_back_ends_at_the_service_and_leaves_its_connection_usable() {
    let (node, _process, seen) = node();
    let mut client = Raw::connect(&node.config.address).await;
    let path = "/containerd.services.streaming.v1.Streaming/Stream";
    let part = any("message", 100).encode_to_vec();
    for round in 1..=20 {
        let stream = u32::try_from(round).unwrap() * 2 - 1;
        client.call(stream, path, None).await;
        for _ in 0..10 {
            client.message(stream, &part, false).await;
        }
        eventually("the upload arrives", || seen.calls() == round).await;
        client.cancel(stream).await;
        eventually("the upload is dropped", || seen.dropped() == round).await;
    }
    client.call(101, path, None).await;
    client.message(101, &part, true).await;
    assert_eq!(client.answer(101).await, HEADERS);
}

#[tokio::test]
async fn a_thousand_calls_taken_back_at_once_leave_the_connection_usable() {
    let (node, _process, seen) = node();
    let mut calls = Vec::new();
    for _ in 0..1000 {
        let mut client = TransferClient::new(node.channel.clone());
        calls.push(tokio::spawn(async move { client.transfer(ask("hang")).await }));
    }
    eventually("all calls arrive", || seen.calls() == 1000).await;
    let mut client = TransferClient::new(node.channel.clone());
    client.transfer(ask("echo")).await.expect("a further call passes");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("all calls are dropped", || seen.dropped() == 1000).await;
    client.transfer(ask("echo")).await.expect("the connection is usable");
}

#[tokio::test]
async fn the_callers_deadline_ends_a_call() {
    let (node, _process, seen) = node();
    let mut request = ask("hang");
    request.metadata_mut().insert("grpc-timeout", "3S".parse().unwrap());
    let mut client = TransferClient::new(node.channel.clone());
    let error = client.transfer(request).await.unwrap_err();
    // The service's own timer may be first, for which tonic says CANCELLED.
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error:?}");
    eventually("the call is dropped", || seen.dropped() == 1).await;
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream_in_its_midst() {
    let (node, _process, seen) = node();
    let first = futures::stream::iter([any("message", 1)]);
    let mut request = Request::new(first.chain(futures::stream::pending()));
    request.metadata_mut().insert("grpc-timeout", "5S".parse().unwrap());
    let mut client = StreamingClient::new(node.channel.clone());
    let mut incoming = client.stream(request).await.unwrap().into_inner();
    assert!(incoming.message().await.unwrap().is_some());
    let error = incoming.message().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    eventually("the stream is dropped", || seen.dropped() == 1).await;
}

#[tokio::test]
async fn an_unknown_service_is_unimplemented_by_name() {
    let (node, _process, _) = node();
    let mut client = BlobsClient::new(node.channel.clone());
    let error = client.open(OpenBlobRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(error.message(), "unknown service berth.node.v1.Blobs");
}

/// Connections beyond the bound wait until another one ends; nothing is refused.
#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let node = Node::with("max_connections = 1");
    let seen = Seen::default();
    let _process = node.start(Service::Distribution, fakes::echo(&seen));
    let held = berth_grpc::channel(&node.config.address);
    let mut first = TransferClient::new(held);
    first.transfer(ask("echo")).await.unwrap();
    let mut second = TransferClient::new(node.channel.clone());
    let waiting = tokio::spawn(async move { second.transfer(ask("echo")).await });
    for _ in 0..100 {
        first.transfer(ask("echo")).await.unwrap();
    }
    assert!(!waiting.is_finished(), "a second connection was served");
    drop(first);
    let answered = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    answered.expect("it waits for ever").unwrap().unwrap();
    assert_eq!(seen.calls(), 102);
}
