//! What is so of every service that a node can be without.

use std::net::SocketAddr;
use std::time::Duration;

use berth_config::Service;
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use berth_proto::grpc::health::v1::HealthCheckRequest;
use berth_proto::grpc::health::v1::health_check_response::ServingStatus;
use berth_proto::grpc::health::v1::health_client::HealthClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use super::{Node, fakes};

pub async fn get(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    told
}

pub async fn health(node: &Node, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(node.channel.clone()).check(request).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

/// The IDs of services that introspection has an entry for, and whether they answer.
pub async fn listed(node: &Node) -> Vec<(String, bool)> {
    let filters = vec!["type==io.berth.service.v1".to_owned()];
    let mut client = IntrospectionClient::new(node.channel.clone());
    let plugins = client.plugins(PluginsRequest { filters }).await.unwrap().into_inner().plugins;
    plugins.into_iter().map(|plugin| (plugin.id, plugin.init_err.is_none())).collect()
}

/// Nothing is told of a service that the node does not have.
pub async fn nothing_is_told_of(node: &Node, service: Service, served: &[&str]) {
    for name in [service.binary()].iter().chain(served) {
        assert_eq!(health(node, name).await, Err(Code::NotFound), "{name}");
    }
    assert!(!listed(node).await.iter().any(|(id, _)| id == service.name()));
}

/// The node is ready and healthy while it is away, and it is told which service is.
pub async fn is_missed_by_nobody(keys: &str, service: Service, served: &[&str]) {
    let mut node = Node::configured("", &format!("wait = \"100ms\"\n{keys}"));
    node.live.observed.at("127.0.0.1:0").unwrap();
    let at = node.live.observed.address().unwrap();
    let _others = [Service::Distribution, Service::Bundle, Service::Runtime]
        .map(|service| node.start(service, fakes::parts("part")));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let told = get(at, "/readyz").await;
        if told.starts_with("HTTP/1.1 200") {
            let all = "\r\n\r\ndistribution: ok\nbundle: ok\nruntime: ok\n";
            assert!(told.ends_with(all), "{told}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(health(&node, "").await, Ok(ServingStatus::Serving));
    told(&node, at, service, served, ServingStatus::NotServing).await;
    let _service = node.start(service, fakes::parts("optional"));
    told(&node, at, service, served, ServingStatus::Serving).await;
}

async fn told(
    node: &Node,
    at: SocketAddr,
    service: Service,
    served: &[&str],
    expected: ServingStatus,
) {
    for name in [service.binary()].iter().chain(served) {
        assert_eq!(health(node, name).await, Ok(expected), "{name}");
    }
    let is_up = expected == ServingStatus::Serving;
    let metrics = get(at, "/metrics").await;
    let line = format!("berth_up{{service=\"{service}\"}} {}\n", u8::from(is_up));
    assert!(metrics.contains(&line), "{metrics}");
    assert!(listed(node).await.contains(&(service.name().to_owned(), is_up)));
}
