//! What none of the clients asks for, called as they would call it: over gRPC on a socket.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::{Channel, MAX_MESSAGE, with_namespace};
use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::services::events::v1 as events;
use berth_proto::containerd::services::introspection::v1 as introspection;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::namespaces::v1 as namespaces;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_proto::containerd::types::{Envelope, RuntimeInfo, RuntimeRequest};
use berth_testkit::{Node, program};
use prost_types::Any;
use tonic::{Code, Request, Streaming};

/// The longest that a stream may be silent here.
const SOON: Duration = Duration::from_secs(30);

fn block_on<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test)
}

fn within<T>(namespace: &str, message: T) -> Result<Request<T>> {
    Ok(with_namespace(message, &namespace.parse()?))
}

async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, tonic::Status> {
    let silent = |_| tonic::Status::deadline_exceeded("the stream is silent");
    tokio::time::timeout(SOON, stream.message()).await.map_err(silent)?
}

#[test]
fn a_runtime_is_asked_about_itself() -> Result<()> {
    let node = Node::start()?;
    block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let mut client = introspection::introspection_client::IntrospectionClient::new(channel);
        let given = berth_proto::pack(&Options { systemd_cgroup: true, ..Options::default() });
        let mut ask = async |id: &str, runtime: &str| {
            let asked =
                RuntimeRequest { runtime_path: runtime.into(), options: Some(given.clone()) };
            let request = introspection::PluginInfoRequest {
                r#type: "io.containerd.runtime.v2".into(),
                id: id.into(),
                options: Some(berth_proto::pack(&asked)),
            };
            client.plugin_info(request).await.map(tonic::Response::into_inner)
        };
        let answer = ask("task", "io.containerd.runc.v2").await?;
        let plugin = answer.plugin.context("no plugin")?;
        assert_eq!((plugin.id.as_str(), plugin.platforms.len()), ("task", 1));
        let extra = answer.extra.context("nothing about the runtime")?;
        let info: RuntimeInfo = berth_proto::unpack(&extra).context("another type")??;
        assert_eq!(info.name, "io.containerd.runc.v2");
        let version = info.version.context("no version")?.version;
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "another shim was asked");
        assert_eq!(info.options, Some(given.clone()));
        let features: serde_json::Value =
            serde_json::from_slice(&info.features.context("runc tells its features")?.value)?;
        assert!(features["linux"]["namespaces"].to_string().contains("pid"), "{features}");

        let unknown = ask("none", "io.containerd.runc.v2").await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
        let absent = ask("task", "io.example.none.v1").await.unwrap_err();
        assert_eq!(absent.code(), Code::Unknown, "{absent}");
        assert!(absent.message().contains("containerd-shim-none-v1"), "{absent}");
        Ok(())
    })
}

/// An event of so many bytes; nobody looks into it.
fn published(topic: &str, size: usize) -> events::PublishRequest {
    let event = Some(Any { type_url: "test.Event".into(), value: vec![7; size] });
    events::PublishRequest { topic: topic.into(), event }
}

fn publisher(channel: &Channel) -> events::events_client::EventsClient<Channel> {
    events::events_client::EventsClient::new(channel.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

async fn subscribe(channel: &Channel) -> Result<Streaming<Envelope>> {
    let all = events::SubscribeRequest { filters: vec!["topic~=/test/".into()] };
    Ok(publisher(channel).subscribe(all).await?.into_inner())
}

#[test]
fn what_a_client_publishes_arrives_once_in_its_namespace() -> Result<()> {
    let node = Node::start()?;
    block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let mut stream = subscribe(&channel).await?;
        let mut client = publisher(&channel);
        let sent = [("moby", "/test/one"), ("default", "/test/two"), ("moby", "/test/three")];
        for (namespace, topic) in sent {
            client.publish(within(namespace, published(topic, 3))?).await?;
        }
        for (namespace, topic) in sent {
            let told = next(&mut stream).await?.context("the stream ends")?;
            assert_eq!((told.namespace.as_str(), told.topic.as_str()), (namespace, topic));
            assert_eq!(told.event, published(topic, 3).event);
            assert!(told.timestamp.is_some());
        }
        let refused = client.publish(published("/test/one", 3)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "no namespace: {refused}");
        let refused = client.publish(within("moby", published("one", 3))?).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "no topic: {refused}");
        Ok(())
    })
}

/// The count in "lost N events, …".
fn lost(status: &tonic::Status) -> Result<u64> {
    ensure!(status.code() == Code::ResourceExhausted, "{status}");
    let count = status.message().strip_prefix("lost ").and_then(|rest| rest.split(' ').next());
    Ok(count.with_context(|| status.message().to_owned())?.parse()?)
}

#[test]
fn a_client_that_does_not_keep_up_is_told_how_much_it_lost() -> Result<()> {
    const SENT: u64 = 400;
    const KEPT: u64 = 4;
    let node = Node::start_with(&format!("[runtime]\nevents = {KEPT}\n"))?;
    block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let mut slow = subscribe(&channel).await?;
        let mut client = publisher(&berth_grpc::channel(&node.address()));
        // More than all buffers on the way hold.
        for number in 1..=SENT {
            let event = published(&format!("/test/{number}"), 256 << 10);
            client.publish(within("moby", event)?).await?;
        }
        let mut seen = 0;
        let status = loop {
            match next(&mut slow).await {
                Ok(Some(event)) => {
                    seen += 1;
                    assert_eq!(event.topic, format!("/test/{seen}"));
                }
                Ok(None) => anyhow::bail!("the stream ends after {seen} without a word"),
                Err(status) => break status,
            }
        };
        let lost = lost(&status)?;
        assert!(lost >= 1 && seen + lost <= SENT - KEPT, "{seen} seen, {status}");
        // It may subscribe again at once.
        let mut again = subscribe(&channel).await?;
        client.publish(within("moby", published("/test/after", 1))?).await?;
        assert_eq!(next(&mut again).await?.context("the stream ends")?.topic, "/test/after");
        Ok(())
    })
}

/// What a service counts, as it tells on its own socket.
fn metrics(socket: &Path) -> Result<String> {
    let curl = program("curl").args(["-sS", "--max-time", "20", "--http2-prior-knowledge"]);
    let curl = curl.args(["--unix-socket"]).args([socket]);
    curl.args(["http://localhost/metrics"]).output()?.ok()
}

/// Subscribes to what a service tells the gateway; the first answer is the subscriber's place.
async fn follow(
    socket: &Path,
    from_seq: u64,
    incarnation: u64,
) -> Result<(node::NodeEvent, Streaming<node::NodeEvent>)> {
    let channel = berth_grpc::channel(socket);
    let mut client = node::node_events_client::NodeEventsClient::new(channel);
    let request = node::NodeSubscribeRequest { from_seq, incarnation, ..Default::default() };
    let mut stream = client.subscribe(request).await?.into_inner();
    let place = next(&mut stream).await?.context("the stream ends")?;
    Ok((place, stream))
}

/// All that a service has told in this run of it, if it keeps that many.
pub fn told(node: &Node, service: &str) -> Result<Vec<node::NodeEvent>> {
    let socket = node.socket(service);
    block_on(async {
        let (node::NodeEvent { seq: newest, incarnation, .. }, _) = follow(&socket, 0, 0).await?;
        let (_, mut stream) = follow(&socket, 1, incarnation).await?;
        let mut told = Vec::new();
        for _ in 0..newest {
            told.push(next(&mut stream).await?.context("the stream ends")?);
        }
        Ok(told)
    })
}

/// What a service says when the first events are asked for after more than it keeps, and counts.
async fn late(socket: &Path, kept: u64) -> Result<()> {
    let (node::NodeEvent { seq: newest, incarnation, .. }, _) = follow(socket, 0, 0).await?;
    ensure!(newest >= 10, "{}: only {newest} events", socket.display());
    let (_, mut stream) = follow(socket, 1, incarnation).await?;
    let status = next(&mut stream).await.expect_err("what is not kept is told");
    assert_eq!(lost(&status)?, newest - kept, "{}: {status}", socket.display());
    let counted = format!("\nberth_events_lost_total {}\n", newest - kept);
    let told = metrics(socket)?;
    assert!(told.contains(&counted), "{}: {counted:?} is not in {told}", socket.display());
    let ended = next(&mut stream).await;
    assert!(matches!(ended, Ok(None)), "{}: it goes on: {ended:?}", socket.display());
    let oldest = newest - kept + 1;
    let (_, mut stream) = follow(socket, oldest, incarnation).await?;
    for seq in oldest..=newest {
        assert_eq!(next(&mut stream).await?.context("the stream ends")?.seq, seq);
    }
    Ok(())
}

#[test]
fn each_service_counts_what_a_late_subscriber_lost() -> Result<()> {
    let keys = "[distribution]\nevents = 4\n[bundle]\nevents = 4\n[runtime]\nevents = 4\n";
    let node = Node::start_with(keys)?;
    block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let mut names = namespaces::namespaces_client::NamespacesClient::new(channel.clone());
        let mut leases = leases::leases_client::LeasesClient::new(channel.clone());
        let mut snapshots = snapshots::snapshots_client::SnapshotsClient::new(channel.clone());
        let lease = leases::CreateRequest { id: "late".into(), ..Default::default() };
        leases.create(within("late", lease)?).await?;
        for number in 0..10 {
            let namespace =
                namespaces::Namespace { name: format!("n{number}"), ..Default::default() };
            let request = namespaces::CreateNamespaceRequest { namespace: Some(namespace) };
            names.create(request).await?;
            let request = snapshots::PrepareSnapshotRequest {
                snapshotter: "native".into(),
                key: format!("k{number}"),
                ..Default::default()
            };
            snapshots.prepare(berth_grpc::with_lease(within("late", request)?, "late")?).await?;
            publisher(&channel).publish(within("late", published("/test/late", 1))?).await?;
        }
        for service in ["distribution", "bundle", "runtime"] {
            late(&node.socket(service), 4).await?;
        }
        Ok(())
    })
}
