//! The one service that a node can be without.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use berth_config::Service;
use berth_proto::berth::cluster::v1 as wire;
use berth_proto::berth::cluster::v1::cluster_client::ClusterClient;
use berth_proto::berth::cluster::v1::cluster_server::{Cluster, ClusterServer};
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use berth_proto::grpc::health::v1::HealthCheckRequest;
use berth_proto::grpc::health::v1::health_check_response::ServingStatus;
use berth_proto::grpc::health::v1::health_client::HealthClient;
use common::{Node, fakes};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// Answers with the kind that it was asked for; a watch tells twice and stays open.
struct Fake;

#[tonic::async_trait]
impl Cluster for Fake {
    async fn status(
        &self,
        _: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        Ok(Response::new(wire::StatusResponse { node: "n".into(), ..Default::default() }))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let next_page_token = request.into_inner().kind.to_string();
        Ok(Response::new(wire::ListResponse { next_page_token, ..Default::default() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let told = [false, true];
        let told =
            told.map(|caught_up| Ok(wire::WatchResponse { caught_up, ..Default::default() }));
        let open = futures::stream::iter(told).chain(futures::stream::pending());
        Ok(Response::new(Box::pin(open)))
    }

    type InspectStream = futures::stream::Pending<Result<wire::InspectResponse, Status>>;

    async fn inspect(
        &self,
        request: Request<wire::InspectRequest>,
    ) -> Result<Response<Self::InspectStream>, Status> {
        Err(Status::not_found(request.into_inner().node))
    }
}

fn fake() -> Routes {
    Routes::new(ClusterServer::new(Fake))
}

const ON: &str = "[cluster.etcd]\nendpoints = ['http://127.0.0.1:1']\n";

async fn get(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    told
}

async fn health(node: &Node, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(node.channel.clone()).check(request).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

/// The IDs of services that introspection has an entry for.
async fn listed(node: &Node) -> Vec<(String, bool)> {
    let filters = vec!["type==io.berth.service.v1".to_owned()];
    let mut client = IntrospectionClient::new(node.channel.clone());
    let plugins = client.plugins(PluginsRequest { filters }).await.unwrap().into_inner().plugins;
    plugins.into_iter().map(|plugin| (plugin.id, plugin.init_err.is_none())).collect()
}

#[tokio::test]
async fn a_node_without_a_cluster_says_how_to_have_one() {
    let node = Node::new("100ms");
    let mut client = ClusterClient::new(node.channel.clone());
    let status = client.status(wire::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let said = "this node is part of no cluster: set [cluster.etcd] endpoints in its configuration and start \
        it again: not implemented";
    assert_eq!(status.message(), said);
    assert_eq!(health(&node, "berth-cluster").await, Err(Code::NotFound));
    assert_eq!(health(&node, "berth.cluster.v1.Cluster").await, Err(Code::NotFound));
    assert!(!listed(&node).await.iter().any(|(id, _)| id == "cluster"));
}

#[tokio::test]
async fn calls_and_watches_pass_to_the_service_and_peers_of_other_nodes_do_not() {
    let node = Node::configured("", &format!("wait = \"10s\"\n{ON}"));
    let _cluster = node.start(Service::Cluster, fake());
    let mut client = ClusterClient::new(node.channel.clone());
    let status = client.status(wire::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.node, "n");
    let asked = wire::ListRequest { kind: wire::Kind::Images.into(), ..Default::default() };
    let answer = client.list(asked).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "2");
    let unknown = client.inspect(wire::InspectRequest { node: "other".into() }).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "other"));
    let mut stream = client.watch(wire::WatchRequest::default()).await.unwrap().into_inner();
    assert!(!stream.message().await.unwrap().unwrap().caught_up);
    assert!(stream.message().await.unwrap().unwrap().caught_up);
    // It stays open, and others are answered meanwhile.
    assert_eq!(client.status(wire::StatusRequest {}).await.unwrap().into_inner().node, "n");
    let mut peer = wire::peer_client::PeerClient::new(node.channel.clone());
    let refused = peer.describe(wire::DescribeRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("unknown service berth.cluster.v1.Peer"), "{refused}");
}

#[tokio::test]
async fn the_node_is_ready_and_healthy_while_it_is_away() {
    let mut node = Node::configured("", &format!("wait = \"100ms\"\n{ON}"));
    node.live.observed.at("127.0.0.1:0").unwrap();
    let at = node.live.observed.address().unwrap();
    let _others = [Service::Distribution, Service::Bundle, Service::Runtime]
        .map(|service| node.start(service, fakes::parts("part")));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let told = get(at, "/readyz").await;
        if told.starts_with("HTTP/1.1 200") {
            assert!(
                told.ends_with("\r\n\r\ndistribution: ok\nbundle: ok\nruntime: ok\n"),
                "{told}"
            );
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut client = ClusterClient::new(node.channel.clone());
    let away = client.status(wire::StatusRequest {}).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
    assert_eq!(health(&node, "").await, Ok(ServingStatus::Serving));
    for name in ["berth-cluster", "berth.cluster.v1.Cluster"] {
        assert_eq!(health(&node, name).await, Ok(ServingStatus::NotServing), "{name}");
    }
    let metrics = get(at, "/metrics").await;
    assert!(metrics.contains("berth_up{service=\"cluster\"} 0\n"), "{metrics}");
    assert!(listed(&node).await.contains(&("cluster".to_owned(), false)));

    let _cluster = node.start(Service::Cluster, fakes::parts("cluster"));
    for name in ["berth-cluster", "berth.cluster.v1.Cluster"] {
        assert_eq!(health(&node, name).await, Ok(ServingStatus::Serving), "{name}");
    }
    let metrics = get(at, "/metrics").await;
    assert!(metrics.contains("berth_up{service=\"cluster\"} 1\n"), "{metrics}");
    assert!(listed(&node).await.contains(&("cluster".to_owned(), true)));
}
