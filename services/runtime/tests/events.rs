//! The service's own events: in order, resumable, also over a kill of the service.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use api::events_client::EventsClient;
use berth_proto::berth::node::v1 as wire;
use berth_proto::containerd::events::{TaskDelete, TaskExit, TaskStart};
use berth_proto::containerd::services::events::v1 as api;
use berth_proto::containerd::types::Envelope;
use berth_proto::containerd::v1::types::Status;
use support::told::envelope;
use support::{Node, SOON, shims, until};
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
    let mut stream = subscribe(&node, from_start()).await;
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

/// The messages up to the first of a topic.
async fn read_until(
    stream: &mut tonic::Streaming<wire::NodeEvent>,
    topic: &str,
) -> Vec<wire::NodeEvent> {
    let mut read = Vec::new();
    while read.last().is_none_or(|event: &wire::NodeEvent| event.topic != topic) {
        read.push(next(stream).await);
    }
    read
}

fn back(event: &wire::NodeEvent) -> wire::NodeSubscribeRequest {
    let (from_seq, incarnation) = (event.seq + 1, event.incarnation);
    wire::NodeSubscribeRequest { from_seq, incarnation, ..Default::default() }
}

/// Waits until a step of a task is in its journal.
async fn written_down(node: &Node, id: &str, step: &str) {
    let journal = node.bundle(id).join("berth-events.jsonl");
    let written = || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains(step));
    until(&format!("{step} of {id} written down"), written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_not_been_read_at_a_kill_is_read_from_the_next_run() {
    let mut node = Node::start().await;
    let mut live = subscribe(&node, wire::NodeSubscribeRequest::default()).await;
    node.run(&shims()[0], "c", "exit 7").await;
    let told = read_until(&mut live, "/tasks/exit").await;
    let topics: Vec<_> = told.iter().map(|event| event.topic.as_str()).collect();
    let life = ["/tasks/create", "/tasks/start", "/tasks/exit"];
    assert_eq!(topics, [&["", "/containers/create"], &life[..]].concat());
    written_down(&node, "c", "Exited").await;
    node.kill_and_restart().await;

    // Whoever had read nothing, or a part of it, gets the rest of it as it was.
    let mut streams = Vec::new();
    for (read, event) in told.iter().enumerate() {
        let mut stream = subscribe(&node, back(event)).await;
        let marker = next(&mut stream).await;
        let rest = &told[(read + 1).max(2)..];
        if !rest.is_empty() {
            let place = (marker.seq, marker.incarnation, marker.event);
            assert_eq!(place, (event.seq, event.incarnation, None));
        }
        for expected in rest {
            assert_eq!(next(&mut stream).await, *expected);
        }
        streams.push(stream);
    }
    for request in [wire::NodeSubscribeRequest::default(), from_start()] {
        let mut stream = subscribe(&node, request).await;
        assert_eq!(next(&mut stream).await.seq, 0);
        streams.push(stream);
    }
    // Then what the new run tells: the exit was told, and is not told again.
    assert_eq!(node.delete("c").await.unwrap(), 7);
    for stream in &mut streams {
        let deleted = next(stream).await;
        assert_eq!((deleted.seq, deleted.topic.as_str()), (1, "/tasks/delete"));
        assert!(deleted.incarnation > told[0].incarnation);
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_was_told_by_three_runs_is_read_in_order() {
    let mut node = Node::start().await;
    let first = next(&mut subscribe(&node, from_start()).await).await;
    node.run(&shims()[0], "lived", "sleep 1000").await;
    written_down(&node, "lived", "Started").await;
    node.kill_and_restart().await;
    node.kill_task("lived", "", 9).await.unwrap();
    written_down(&node, "lived", "Exited").await;
    node.kill_and_restart().await;
    node.delete("lived").await.unwrap();
    let mut stream = subscribe(&node, back(&first)).await;
    let read = read_until(&mut stream, "/tasks/delete").await;
    let told: Vec<_> = read.iter().map(|event| (event.topic.as_str(), event.seq)).collect();
    let expected = [("/tasks/create", 2), ("/tasks/start", 3), ("/tasks/exit", 1)];
    assert_eq!(told, [&[("", 0)], &expected[..], &[("/tasks/delete", 1)]].concat());
    let runs: Vec<_> = read.iter().map(|event| event.incarnation).collect();
    assert!(runs[1] == runs[2] && runs[2] < runs[3] && runs[3] < runs[4], "{runs:?}");
    node.finish().await;
}

fn from_start() -> wire::NodeSubscribeRequest {
    wire::NodeSubscribeRequest { from_start: true, ..Default::default() }
}

/// The end of an added process, as its shim tells it.
fn exit_of(id: &str) -> Envelope {
    let exit = TaskExit {
        container_id: id.into(),
        id: "added".into(),
        pid: 7,
        exit_status: 3,
        exited_at: None,
    };
    envelope("/tasks/exit", &exit)
}

/// Tasks may be somebody else's, whose shim has this service publish its events.
#[tokio::test(flavor = "multi_thread")]
async fn an_added_process_of_an_unknown_task_is_passed_on_but_not_one_of_a_task_that_ended() {
    let node = Node::start().await;
    node.forward(exit_of("elsewhere")).await.unwrap();
    assert_eq!(node.events("elsewhere").await, ["exit added 3"]);

    let shim = shims().remove(0);
    node.run(&shim, "ended", "exit 0").await;
    node.wait("ended", "").await.unwrap();
    node.delete("ended").await.unwrap();
    node.forward(exit_of("ended")).await.unwrap();
    let told = node.events_until("ended", "delete 0").await;
    assert_eq!(told, ["create", "start", "exit ended 0", "delete 0"]);
    node.finish().await;
}

/// What a client says of a task of ours is told as it is, and nothing of it is believed; nor is what a
/// shim says under topics that are not those of a task's life.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_task_is_believed_of_shims_alone() {
    let node = Node::start().await;
    let pid = node.run(&shims()[0], "own", "while :; do sleep 1000; done").await;
    let mut told = node.events_until("own", "start").await;
    // Shims may tell twice.
    let start = TaskStart { container_id: "own".into(), pid };
    node.forward(envelope("/tasks/start", &start)).await.unwrap();
    assert_eq!(node.events("own").await, told);

    let (container_id, id) = ("own".to_owned(), "own".to_owned());
    let exit = TaskExit { container_id, id, pid, exit_status: 9, exited_at: None };
    let deleted = TaskDelete { container_id: "own".into(), pid, ..TaskDelete::default() };
    let mut client = EventsClient::new(node.channel.clone());
    for said in [
        envelope("/tasks/start", &start),
        envelope("/tasks/exit", &exit),
        envelope("/tasks/delete", &deleted),
    ] {
        let (topic, event) = (said.topic.clone(), said.event.clone());
        client.publish(support::ns(api::PublishRequest { topic, event })).await.unwrap();
        client.forward(support::ns(api::ForwardRequest { envelope: Some(said) })).await.unwrap();
    }
    node.forward(envelope("/mine/exit", &exit)).await.unwrap();
    let said = ["start", "start", "exit own 9", "exit own 9", "delete 0", "delete 0", "exit own 9"];
    told.extend(said.map(str::to_owned));
    assert_eq!(node.events("own").await, told);
    assert_eq!(node.list().await, [("own".to_owned(), Status::Running as i32)]);

    // Its life goes on as if nobody had said anything.
    node.kill_task("own", "", 9).await.unwrap();
    assert_eq!(node.wait("own", "").await.unwrap(), 137);
    assert_eq!(node.delete("own").await.unwrap(), 137);
    told.extend(["exit own 137", "delete 137"].map(str::to_owned));
    assert_eq!(node.events_until("own", "delete 137").await, told);
    node.finish().await;
}

/// Some shims have a program publish for them, which finds the way of shims in its environment.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_shim_has_a_program_publish_is_believed() {
    let node = Node::start().await;
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_berth-runtime")).with_file_name("berth");
    assert!(program.exists(), "build all programs first");
    let pid = node.run(&shims()[0], "whose", "exit 0").await;
    let told = node.events_until("whose", "exit whose 0").await;
    for (id, pid) in [("whose", pid), ("another", 1)] {
        let start = berth_proto::pack(&TaskStart { container_id: id.into(), pid });
        let mut publish = berth_lifecycle::child::command(&program);
        publish.env("TTRPC_ADDRESS", node.folder.path().join("run/berth.sock.ttrpc"));
        publish.args(["--namespace", "test", "publish", "--topic", "/tasks/start"]);
        let event = prost::Message::encode_to_vec(&start);
        let ended = berth_lifecycle::child::output_with_input(publish, &event, SOON).await.unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }
    assert_eq!(node.events("whose").await, told);
    assert_eq!(node.events("another").await, ["start"]);
    assert_eq!(node.delete("whose").await.unwrap(), 0);
    node.finish().await;
}

/// A shim is asked whether it has deleted its task, whoever says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_not_believed_while_the_shim_has_the_task() {
    let node = Node::start().await;
    let pid = node.run(&shims()[0], "kept", "exit 0").await;
    node.wait("kept", "").await.unwrap();
    let deleted = TaskDelete { container_id: "kept".into(), pid, ..TaskDelete::default() };
    node.forward(envelope("/tasks/delete", &deleted)).await.unwrap();
    assert_eq!(node.list().await.len(), 1);
    assert_eq!(node.delete("kept").await.unwrap(), 0);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_forwarded_says_whose_it_is_what_and_when() {
    let node = Node::start().await;
    let whole = exit_of("x");
    let topic = |topic: &str| Envelope { topic: topic.into(), ..whole.clone() };
    for (refused, why) in [
        (Envelope { timestamp: None, ..whole.clone() }, "timestamp must be set on forwarded event"),
        (
            Envelope { namespace: "a b".into(), ..whole.clone() },
            "has invalid namespace: identifier",
        ),
        (topic(""), "envelope topic \"\": must not be empty"),
        (topic("a"), "envelope topic \"a\": must start with '/'"),
        (topic("/"), "envelope topic \"/\": must have at least one component"),
        (topic("/a//b"), "failed validation on component \"\": identifier must not be empty"),
    ] {
        let request = api::ForwardRequest { envelope: Some(refused.clone()) };
        let by_grpc = EventsClient::new(node.channel.clone()).forward(request).await.unwrap_err();
        let by_ttrpc = node.forward(refused).await.unwrap_err();
        assert_eq!(by_grpc.code(), tonic::Code::InvalidArgument, "{by_grpc}");
        assert_eq!(by_grpc.message(), by_ttrpc.to_string());
        assert!(by_grpc.message().contains(why), "{by_grpc}");
    }
    node.finish().await;
}
