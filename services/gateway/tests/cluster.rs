//! The service of a cluster, on nodes that are in one and on those that are not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::pin::Pin;

use berth_config::Service;
use berth_proto::berth::cluster::v1 as wire;
use berth_proto::berth::cluster::v1::cluster_client::ClusterClient;
use berth_proto::berth::cluster::v1::cluster_server::{Cluster, ClusterServer};
use common::Node;
use common::optional::{is_missed_by_nobody, nothing_is_told_of};
use futures::{Stream, StreamExt};
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

const SERVED: [&str; 1] = ["berth.cluster.v1.Cluster"];
const ON: &str = "[cluster.etcd]\nendpoints = ['http://127.0.0.1:1']\n";

#[tokio::test]
async fn a_node_without_a_cluster_says_how_to_have_one() {
    let node = Node::new("100ms");
    let mut client = ClusterClient::new(node.channel.clone());
    let status = client.status(wire::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let said = "this node is part of no cluster: set [cluster.etcd] endpoints in its configuration and start \
        it again: not implemented";
    assert_eq!(status.message(), said);
    nothing_is_told_of(&node, Service::Cluster, &SERVED).await;
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
    is_missed_by_nobody(ON, Service::Cluster, &SERVED).await;
    let node = Node::configured("", &format!("wait = \"100ms\"\n{ON}"));
    let mut client = ClusterClient::new(node.channel.clone());
    let away = client.status(wire::StatusRequest {}).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
}
