//! What the gateway answers itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::process::Command;

use berth_config::Service;
use berth_proto::containerd::services::events::v1::SubscribeRequest;
use berth_proto::containerd::services::events::v1::events_client::EventsClient;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use berth_proto::containerd::services::introspection::v1::{
    Plugin, PluginInfoRequest, PluginsRequest,
};
use berth_proto::grpc::health::v1::health_check_response::ServingStatus;
use berth_proto::grpc::health::v1::health_client::HealthClient;
use berth_proto::grpc::health::v1::{HealthCheckRequest, HealthListRequest};
use common::Node;
use common::fakes::{self, Events, event};
use tonic::{Code, Status};

async fn plugins(node: &Node, filters: &[&str]) -> Vec<Plugin> {
    let filters = filters.iter().map(ToString::to_string).collect();
    let mut client = IntrospectionClient::new(node.channel.clone());
    client.plugins(PluginsRequest { filters }).await.unwrap().into_inner().plugins
}

#[tokio::test]
async fn plugins_of_all_services_are_merged_and_filtered() {
    let node = Node::new("100ms");
    let _distribution = node.start(Service::Distribution, fakes::parts("distribution"));
    let _runtime = node.start(Service::Runtime, fakes::parts("runtime"));
    let tested = plugins(&node, &["type==io.containerd.test.v1"]).await;
    let ids: Vec<_> = tested.iter().map(|plugin| plugin.id.as_str()).collect();
    assert_eq!(ids, ["distribution", "runtime"]);
    let services = plugins(&node, &["type==io.berth.service.v1"]).await;
    assert_eq!(services.len(), 3);
    for service in services {
        let down = service.init_err.map(|error| error.code);
        assert_eq!(down, (service.id == "bundle").then_some(Code::Unavailable as i32));
    }
}

#[tokio::test]
async fn what_is_left_out_is_nowhere_and_what_needs_it_says_so() {
    let left_out = ["io.containerd.test.v1.runtime", "io.containerd.event.v1.exchange"];
    let node = Node::without(&left_out);
    let _distribution = node.start(Service::Distribution, fakes::parts("distribution"));
    let _runtime = node.start(Service::Runtime, fakes::parts("runtime"));
    let tested = plugins(&node, &["type==io.containerd.test.v1"]).await;
    assert_eq!(
        tested.iter().map(|plugin| plugin.id.as_str()).collect::<Vec<_>>(),
        ["distribution"]
    );
    assert!(plugins(&node, &["type==io.containerd.event.v1"]).await.is_empty());
    let events = plugins(&node, &["id==events,type==io.containerd.grpc.v1"]).await;
    let why = events[0].init_err.clone().unwrap();
    let said = "no plugins registered for io.containerd.event.v1.exchange: plugin: not found";
    assert_eq!((why.code, why.message.as_str()), (Code::Unknown as i32, said));
    let mut client = IntrospectionClient::new(node.channel.clone());
    for (kind, id, found) in [
        ("io.containerd.test.v1", "runtime", Err(Code::NotFound)),
        ("io.containerd.event.v1", "exchange", Err(Code::NotFound)),
        ("io.containerd.test.v1", "distribution", Ok(false)),
        ("io.containerd.grpc.v1", "events", Ok(true)),
    ] {
        let asked = PluginInfoRequest { r#type: kind.into(), id: id.into(), options: None };
        let told = client
            .plugin_info(asked)
            .await
            .map(|told| told.into_inner().plugin.unwrap().init_err.is_some());
        assert_eq!(told.map_err(|status| status.code()), found, "{kind}.{id}");
    }
    let mut client = EventsClient::new(node.channel.clone());
    let refused = client.subscribe(SubscribeRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(refused.message(), "unknown service containerd.services.events.v1.Events");
}

#[tokio::test]
async fn whoever_has_a_plugin_tells_of_it() {
    let node = Node::new("100ms");
    let _distribution = node.start(Service::Distribution, fakes::parts("distribution"));
    let mut client = IntrospectionClient::new(node.channel.clone());
    let mut ask = async |kind: &str, id: &str, more: bool| {
        let options = more.then(prost_types::Any::default);
        let asked = PluginInfoRequest { r#type: kind.into(), id: id.into(), options };
        client.plugin_info(asked).await.map(|told| told.into_inner().plugin.unwrap().id)
    };
    assert_eq!(ask("io.containerd.grpc.v1", "version", false).await.unwrap(), "version");
    let (kind, id) = ("io.containerd.test.v1", "distribution");
    assert_eq!(ask(kind, id, false).await.unwrap(), "distribution");
    let more = ask("io.containerd.grpc.v1", "version", true).await.unwrap_err();
    assert_eq!(more.code(), Code::Unimplemented, "{more}");
    // Nobody who is there has it, but two are away.
    assert_eq!(ask(kind, "none", false).await.unwrap_err().code(), Code::Unavailable);
    let _bundle = node.start(Service::Bundle, fakes::parts("bundle"));
    let _runtime = node.start(Service::Runtime, fakes::parts("runtime"));
    assert_eq!(ask(kind, "none", false).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_server_has_the_uuid_that_distribution_keeps_and_what_runtime_noticed() {
    let node = Node::new("100ms");
    let _distribution = node.start(Service::Distribution, fakes::parts("distribution"));
    let mut client = IntrospectionClient::new(node.channel.clone());
    let server = client.server(()).await.unwrap().into_inner();
    assert_eq!(server.uuid, "uuid-of-distribution");
    assert!(server.deprecations.is_empty(), "{:?}", server.deprecations);
    assert_eq!(server.pid, u64::from(std::process::id()));
    assert_ne!(server.pidns, 0);
    let _runtime = node.start(Service::Runtime, fakes::parts("runtime"));
    let server = client.server(()).await.unwrap().into_inner();
    let told: Vec<_> = server.deprecations.iter().map(|told| told.id.as_str()).collect();
    assert_eq!(told, ["deprecation-of-runtime"]);
}

async fn subscribe(
    node: &Node,
    filters: &[&str],
) -> tonic::Streaming<berth_proto::containerd::types::Envelope> {
    let filters = filters.iter().map(ToString::to_string).collect();
    let mut client = EventsClient::new(node.channel.clone());
    client.subscribe(SubscribeRequest { filters }).await.unwrap().into_inner()
}

#[tokio::test]
async fn events_of_all_services_are_merged_and_filtered() {
    let node = Node::new("10s");
    let services = [Service::Distribution, Service::Bundle, Service::Runtime];
    let _processes = services.map(|service| {
        let events = Events::default();
        let topic = format!("/{service}/one");
        *events.script.lock().unwrap() = vec![event(1, 1, &topic), event(2, 1, "/other")];
        node.start(service, events.routes())
    });
    let mut stream = subscribe(&node, &["topic~=one"]).await;
    let mut topics = Vec::new();
    for _ in services {
        topics.push(stream.message().await.unwrap().unwrap().topic);
    }
    topics.sort();
    assert_eq!(topics, ["/bundle/one", "/distribution/one", "/runtime/one"]);
}

#[tokio::test]
async fn a_subscription_outlives_a_service_and_resumes_where_it_was() {
    let node = Node::new("10s");
    let events = Events::default();
    *events.script.lock().unwrap() = vec![event(5, 9, "/a")];
    let process = node.start(Service::Runtime, events.routes());
    let mut stream = subscribe(&node, &[]).await;
    assert_eq!(stream.message().await.unwrap().unwrap().topic, "/a");
    process.kill();
    // Another run counts from one again, and what was seen comes twice.
    *events.script.lock().unwrap() =
        vec![event(1, 10, "/b"), event(1, 10, "/b"), event(2, 10, "/c")];
    let _process = node.start(Service::Runtime, events.routes());
    assert_eq!(stream.message().await.unwrap().unwrap().topic, "/b");
    assert_eq!(stream.message().await.unwrap().unwrap().topic, "/c");
    let asked = events.asked.lock().unwrap().clone();
    assert_eq!((asked[0].from_seq, asked[0].from_start), (0, false));
    assert!(asked[0].after_predecessor && !asked[1].after_predecessor);
    assert_eq!((asked[1].from_seq, asked[1].incarnation), (6, 9));
}

#[tokio::test]
async fn a_subscriber_that_lost_events_is_told_how_many() {
    let node = Node::new("10s");
    let events = Events::default();
    let lost = Status::resource_exhausted("subscriber is too slow, 7 events lost");
    *events.script.lock().unwrap() = vec![event(1, 1, "/a"), Err(lost)];
    let _process = node.start(Service::Bundle, events.routes());
    let mut stream = subscribe(&node, &[]).await;
    assert!(stream.message().await.unwrap().is_some());
    let error = stream.message().await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("7 events"), "{}", error.message());
}

#[tokio::test]
async fn health_follows_the_processes() {
    let node = Node::new("10s");
    let _process = node.start(Service::Bundle, fakes::parts("bundle"));
    let mut client = HealthClient::new(node.channel.clone());
    for (name, status) in [
        ("berth-bundle", ServingStatus::Serving),
        ("containerd.services.snapshots.v1.Snapshots", ServingStatus::Serving),
        ("containerd.services.images.v1.Images", ServingStatus::NotServing),
        ("containerd.services.version.v1.Version", ServingStatus::Serving),
        ("", ServingStatus::NotServing),
    ] {
        let request = HealthCheckRequest { service: name.into() };
        assert_eq!(client.check(request).await.unwrap().into_inner().status(), status, "{name}");
    }
    let request = HealthCheckRequest { service: "nobody".into() };
    assert_eq!(client.check(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_watcher_of_health_is_told_of_each_change() {
    let node = Node::new("10s");
    let mut client = HealthClient::new(node.channel.clone());
    let mut watch = async |name: &str| {
        let request = HealthCheckRequest { service: name.into() };
        client.watch(request).await.unwrap().into_inner()
    };
    let mut bundle = watch("berth-bundle").await;
    let mut nobody = watch("nobody").await;
    let mut next = async || bundle.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::NotServing);
    for _ in 0..2 {
        let process = node.start(Service::Bundle, fakes::parts("bundle"));
        assert_eq!(next().await, ServingStatus::Serving);
        process.kill();
        assert_eq!(next().await, ServingStatus::NotServing);
    }
    let unknown = nobody.message().await.unwrap().unwrap();
    assert_eq!(unknown.status(), ServingStatus::ServiceUnknown);
    // What does not change is not told again: the stream ends with the gateway.
    node.tasks.drain(std::time::Duration::from_secs(5)).await;
    assert!(!matches!(nobody.message().await, Ok(Some(_))));
}

#[tokio::test]
async fn the_list_of_health_has_every_name() {
    let node = Node::new("10s");
    let _process = node.start(Service::Bundle, fakes::parts("bundle"));
    let mut client = HealthClient::new(node.channel.clone());
    let listed = client.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
    // That of a cluster is not there without one, and those of kubelets are not without what serves them.
    assert_eq!(listed.len(), 4 + berth_gateway::route::services().count() - 3);
    let optional = |name: &String| name.contains("cluster") || name.starts_with("runtime.v1.");
    assert!(!listed.keys().any(optional), "{listed:?}");
    for (name, status) in listed {
        let request = HealthCheckRequest { service: name.clone() };
        assert_eq!(client.check(request).await.unwrap().into_inner(), status, "{name:?}");
    }
}

/// Asks one version of reflection for the list of services, and for the description of each.
macro_rules! described {
    ($node:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let mut client = ServerReflectionClient::new($node.channel.clone());
        let services = berth_gateway::route::services();
        let asked = services.map(|name| MessageRequest::FileContainingSymbol(name.to_owned()));
        let asked: Vec<_> = [MessageRequest::ListServices(String::new())]
            .into_iter()
            .chain(asked)
            .map(|asked| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(asked),
            })
            .collect();
        let asked = futures::stream::iter(asked);
        let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
        let (mut listed, mut files) = (Vec::new(), 0);
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    listed = list.service.into_iter().map(|service| service.name).collect();
                }
                Some(MessageResponse::FileDescriptorResponse(file)) => {
                    assert!(!file.file_descriptor_proto.is_empty());
                    files += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(listed, berth_gateway::route::services().collect::<Vec<_>>());
        assert_eq!(files, listed.len(), "each is described");
    }};
}

#[tokio::test]
async fn reflection_describes_what_can_be_called() {
    let node = Node::new("10s");
    described!(node, v1);
    described!(node, v1alpha);
}

/// containerd's own client, which is Debian's ctr 1.6.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "the client is a program")]
async fn ctr_prints_our_version() {
    let node = Node::new("10s");
    let _distribution = node.start(Service::Distribution, fakes::parts("distribution"));
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(&node.config.address).arg("version");
    let output = tokio::task::spawn_blocking(move || ctr.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for part in ["v2.3.4", concat!("berth-", env!("CARGO_PKG_VERSION")), "uuid-of-distribution"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
