//! How large messages may be, for clients as they are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::{Channel, NODE_MESSAGE, with_namespace};
use berth_proto::containerd::services::events::v1::{
    PublishRequest, SubscribeRequest, events_client::EventsClient,
};
use berth_testkit::Node;
use prost_types::Any;
use tonic::Code;

use crate::stage::Stage;

#[test]
fn ctr_is_told_what_is_too_large() -> Result<()> {
    let mut stage = Stage::uncollected()?;
    let bytes = vec![7_u8; 1 << 20];
    let ingest =
        |node: &Node, name: &str| node.ctr(&format!("content ingest {name}")).output_with(&bytes);
    ingest(&stage.node, "first")?.ok()?;
    let blobs = stage.ctr("content ls -q")?;
    stage.node.stop()?;
    let config = "[distribution.gc]\nstartup_delay = \"0s\"\nmutation_threshold = 0\n\
                  [gateway]\nmax_recv_message_size = \"64KiB\"\nmax_send_message_size = 1000\n";
    fs_err::write(stage.node.path("berth.toml"), config)?;
    stage.node.start_berthd()?;
    let refused = ingest(&stage.node, "second")?.fails(1)?;
    ensure!(refused.contains("grpc: received message larger than max ("), "{refused}");
    ensure!(refused.contains(" vs. 65536)"), "{refused}");
    // What is asked is small, what is answered is not.
    let get = |blob: &str| stage.node.ctr(&format!("content get {blob}")).output();
    let answers = blobs.lines().map(get).collect::<Result<Vec<_>>>()?;
    let said = "grpc: trying to send message larger than max (";
    let large = answers.into_iter().find(|answer| answer.stderr.contains(said));
    let refused = large.context("each blob was answered")?.fails(1)?;
    ensure!(refused.contains(" vs. 1000)"), "{refused}");
    stage.ctr("version")?;
    Ok(())
}

/// Publishes an event of 20 MiB, and answers how much of it a subscriber gets.
async fn publish(node: &Node) -> Result<usize, tonic::Status> {
    let client = || {
        let channel: Channel = berth_grpc::channel(&node.address());
        EventsClient::new(channel)
            .max_decoding_message_size(NODE_MESSAGE)
            .max_encoding_message_size(NODE_MESSAGE)
    };
    let filters = vec!["topic~=/test/".into()];
    let mut events = client().subscribe(SubscribeRequest { filters }).await?.into_inner();
    let event = Some(Any { type_url: "test.Event".into(), value: vec![7; 20 << 20] });
    let request = PublishRequest { topic: "/test/large".into(), event };
    let namespace = "moby".parse().expect("it is a namespace");
    client().publish(with_namespace(request, &namespace)).await?;
    let told = tokio::time::timeout(Duration::from_secs(60), events.message()).await;
    let told = told.map_err(|_| tonic::Status::deadline_exceeded("the stream is silent"))??;
    Ok(told.and_then(|told| told.event).map_or(0, |event| event.value.len()))
}

#[test]
fn larger_ones_reach_services_and_clients() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let refused = runtime.block_on(publish(&Node::start()?)).expect_err("it is larger than 16 MiB");
    ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
    let bounds = "max_recv_message_size = \"32MiB\"\nmax_send_message_size = \"32MiB\"";
    let node = Node::start_with(&format!("[gateway]\n{bounds}\n"))?;
    ensure!(runtime.block_on(publish(&node))? == 20 << 20);
    Ok(())
}
