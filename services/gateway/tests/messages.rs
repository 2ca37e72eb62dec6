//! How large messages may be: as it is configured, told in the words of Go's library, and nothing of
//! one that is too large arrives.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use berth_config::Service;
use berth_grpc::NODE_MESSAGE;
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use berth_proto::containerd::services::streaming::v1::streaming_client::StreamingClient;
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use berth_testkit::Killable;
use common::fakes::{self, Seen};
use common::{Node, eventually};
use prost::Message;
use prost_types::Any;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

fn node(keys: &str) -> (Node, Killable, Seen) {
    let (node, seen) = (Node::with(keys), Seen::default());
    let process = node.start(Service::Distribution, fakes::echo(&seen));
    (node, process, seen)
}

/// A message of exactly so many bytes.
fn message(size: usize) -> Any {
    let mut any = Any { type_url: "message".into(), value: vec![7; size - 12] };
    any.value.resize(any.value.len() - (any.encoded_len() - size), 7);
    assert_eq!(any.encoded_len(), size);
    any
}

fn exhausted(status: &Status, text: &str) {
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, text), "{status:?}");
}

#[tokio::test]
async fn a_request_above_the_bound_is_refused_before_anybody_sees_it() {
    let (node, _process, seen) = node("max_recv_message_size = 1000");
    let mut client = TransferClient::new(node.channel.clone());
    for (value, fits) in [(900, true), (1001, false), (3 << 20, false), (900, true)] {
        let source = Some(message(value));
        let request = TransferRequest { source, ..Default::default() };
        let size = request.encoded_len();
        let answer = client.transfer(request).await;
        assert_eq!(answer.is_ok(), fits, "{size}: {answer:?}");
        if let Err(status) = answer {
            let text = format!("grpc: received message larger than max ({size} vs. 1000)");
            exhausted(&status, &text);
        }
    }
    assert_eq!(seen.calls(), 2);
}

#[tokio::test]
async fn a_stream_is_answered_up_to_the_message_that_is_too_large() {
    let (node, _process, seen) = node("max_recv_message_size = 1000");
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = StreamingClient::new(node.channel.clone());
    let mut incoming = client.stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    sender.send(message(1000)).await.unwrap();
    assert_eq!(incoming.message().await.unwrap(), Some(message(1000)));
    sender.send(message(2000)).await.unwrap();
    let error = incoming.message().await.unwrap_err();
    exhausted(&error, "grpc: received message larger than max (2000 vs. 1000)");
    eventually("the service's stream is dropped", || seen.dropped() == 1).await;
    // Others of the connection go on.
    TransferClient::new(node.channel.clone()).transfer(TransferRequest::default()).await.unwrap();
}

#[tokio::test]
async fn an_answer_above_the_bound_is_not_sent() {
    let (node, _process, seen) = node("max_send_message_size = 500");
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = StreamingClient::new(node.channel.clone());
    let mut incoming = client.stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    for size in [500, 501] {
        sender.send(message(size)).await.unwrap();
        match incoming.message().await {
            Ok(answer) => assert_eq!((size, answer), (500, Some(message(500)))),
            Err(status) => {
                let text = "grpc: trying to send message larger than max (501 vs. 500)";
                exhausted(&status, text);
                assert_eq!(size, 501);
            }
        }
    }
    eventually("the service's stream is dropped", || seen.dropped() == 1).await;
}

#[tokio::test]
async fn the_gateways_own_services_have_the_same_bounds() {
    let node =
        Node::with("max_recv_message_size = 100\nmax_send_message_size = 100\nwait = \"0s\"");
    let mut client = IntrospectionClient::new(node.channel.clone());
    let filters = vec!["x".repeat(200)];
    let error = client.plugins(PluginsRequest { filters }).await.unwrap_err();
    exhausted(&error, "grpc: received message larger than max (203 vs. 100)");
    let error = client.plugins(PluginsRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    assert!(error.message().starts_with("grpc: trying to send message larger"), "{error:?}");
}

#[tokio::test]
async fn a_larger_bound_reaches_the_services() {
    const SIZE: usize = 40 << 20;
    let keys = "max_recv_message_size = \"40MiB\"\nmax_send_message_size = \"40MiB\"";
    let (node, _process, _) = node(keys);
    let client = StreamingClient::new(node.channel.clone());
    let mut client =
        client.max_decoding_message_size(NODE_MESSAGE).max_encoding_message_size(NODE_MESSAGE);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut incoming = client.stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    sender.send(message(SIZE)).await.unwrap();
    assert!(incoming.message().await.unwrap() == Some(message(SIZE)));
    sender.send(message(SIZE + 1)).await.unwrap();
    let error = incoming.message().await.unwrap_err();
    exhausted(&error, &format!("grpc: received message larger than max ({} vs. {SIZE})", SIZE + 1));
}
