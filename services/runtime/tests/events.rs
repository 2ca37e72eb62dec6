//! The service's own events: in order, resumable, those of another run told from those of this one.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use berth_proto::berth::node::v1 as wire;
use support::{Node, SOON};
use wire::node_events_client::NodeEventsClient;

/// The next message of a stream.
async fn next(stream: &mut tonic::Streaming<wire::NodeEvent>) -> wire::NodeEvent {
    tokio::time::timeout(SOON, stream.message()).await.expect("an event").unwrap().unwrap()
}

async fn subscribe(
    node: &Node,
    request: wire::NodeSubscribeRequest,
) -> tonic::Streaming<wire::NodeEvent> {
    let mut client = NodeEventsClient::new(node.channel.clone());
    client.subscribe(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_goes_on_where_it_was() {
    let mut node = Node::start().await;
    node.container("r.v1", "before", "true").await;
    let mut stream = subscribe(&node, wire::NodeSubscribeRequest::default()).await;
    let marker = next(&mut stream).await;
    assert!(marker.event.is_none() && marker.seq == 1, "{marker:?}");
    node.container("r.v1", "first", "true").await;
    let first = next(&mut stream).await;
    assert_eq!((first.seq, first.topic.as_str()), (2, "/containers/create"));
    assert_eq!((first.namespace.as_str(), first.incarnation), ("test", marker.incarnation));
    drop(stream);

    node.container("r.v1", "second", "true").await;
    let incarnation = marker.incarnation;
    let on =
        wire::NodeSubscribeRequest { from_seq: first.seq + 1, incarnation, ..Default::default() };
    let mut stream = subscribe(&node, on).await;
    assert_eq!(next(&mut stream).await.seq, 2, "what was before");
    assert_eq!(next(&mut stream).await.seq, 3, "the second container alone");
    let all = wire::NodeSubscribeRequest { from_start: true, ..Default::default() };
    let mut stream = subscribe(&node, all).await;
    for seq in 0..=3 {
        assert_eq!(next(&mut stream).await.seq, seq);
    }

    // Another run counts from one again: what it has is told from its beginning.
    node.kill_and_restart().await;
    node.container("r.v1", "third", "true").await;
    let mut stream = subscribe(&node, on).await;
    let marker = next(&mut stream).await;
    assert!(marker.seq == 0 && marker.incarnation != incarnation, "{marker:?}");
    let third = next(&mut stream).await;
    assert_eq!((third.seq, third.topic.as_str()), (1, "/containers/create"));
    node.finish().await;
}
