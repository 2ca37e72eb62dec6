//! The service that kubelets call, on nodes that have it and on those that do not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use berth_config::Service;
use berth_gateway::required::check_within;
use berth_proto::containerd::services::introspection::v1::PluginInfoRequest;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use berth_proto::runtime::v1 as wire;
use common::optional::{is_missed_by_nobody, nothing_is_told_of};
use common::{Node, fakes};
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::{NamedService, UnaryService};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

const ON: &str = "[cri]\nenabled = true\n";
const SERVED: [&str; 2] = ["runtime.v1.RuntimeService", "runtime.v1.ImageService"];

/// Answers each call with its path.
#[derive(Clone)]
struct Fake<const RUNTIME: bool>;

impl NamedService for Fake<true> {
    const NAME: &'static str = SERVED[0];
}

impl NamedService for Fake<false> {
    const NAME: &'static str = SERVED[1];
}

impl<const RUNTIME: bool> tower::Service<http::Request<Body>> for Fake<RUNTIME> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = Path(request.uri().path().to_owned());
        let codec = ProstCodec::<wire::VersionResponse, wire::VersionRequest>::default();
        Box::pin(async move { Ok(tonic::server::Grpc::new(codec).unary(path, request).await) })
    }
}

struct Path(String);

impl UnaryService<wire::VersionRequest> for Path {
    type Response = wire::VersionResponse;
    type Future = Ready<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, _: Request<wire::VersionRequest>) -> Self::Future {
        let version = self.0.clone();
        ready(Ok(Response::new(wire::VersionResponse { version, ..Default::default() })))
    }
}

fn fake() -> Routes {
    Routes::new(Fake::<true>).add_service(Fake::<false>)
}

/// What a method answers; as every kubelet, without a namespace.
async fn called(node: &Node, path: &str) -> Result<String, Status> {
    let mut client = Grpc::new(node.channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<wire::VersionRequest, wire::VersionResponse>::default();
    let request = Request::new(wire::VersionRequest::default());
    let answer = client.unary(request, PathAndQuery::try_from(path).unwrap(), codec).await?;
    Ok(answer.into_inner().version)
}

#[tokio::test]
async fn a_node_that_serves_no_kubelets_says_how_to_do_it() {
    let node = Node::new("100ms");
    for path in ["/runtime.v1.RuntimeService/Version", "/runtime.v1.ImageService/ListImages"] {
        let refused = called(&node, path).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
        let said = "this node serves no kubelets: set [cri] enabled = true in its configuration and start it \
            again: not implemented";
        assert_eq!(refused.message(), said);
    }
    nothing_is_told_of(&node, Service::Cri, &SERVED).await;
}

#[tokio::test]
async fn calls_of_both_services_pass() {
    let node = Node::configured("", &format!("wait = \"10s\"\n{ON}"));
    let _cri = node.start(Service::Cri, fake());
    for path in [
        "/runtime.v1.RuntimeService/Version",
        "/runtime.v1.RuntimeService/GetContainerEvents",
        "/runtime.v1.ImageService/ListImages",
    ] {
        assert_eq!(called(&node, path).await.unwrap(), path);
    }
}

/// Kubelets know what containerd says then.
#[tokio::test]
async fn one_that_is_left_out_is_as_unknown_as_with_containerd() {
    let top = "disabled_plugins = ['io.containerd.grpc.v1.cri']\n";
    let node = Node::configured(top, &format!("wait = \"100ms\"\n{ON}"));
    let refused = called(&node, "/runtime.v1.RuntimeService/Version").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(refused.message(), "unknown service runtime.v1.RuntimeService");
    nothing_is_told_of(&node, Service::Cri, &SERVED).await;
}

#[tokio::test]
async fn the_node_is_ready_and_healthy_while_it_is_away() {
    is_missed_by_nobody(ON, Service::Cri, &SERVED).await;
    let node = Node::configured("", &format!("wait = \"100ms\"\n{ON}"));
    let away = called(&node, "/runtime.v1.RuntimeService/Version").await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
}

/// Of its plugins alone it is asked, and waited for where the node is to have them.
#[tokio::test]
async fn its_plugins_may_be_required() {
    let keys = "required_plugins = ['io.containerd.grpc.v1.cri']\nwait = \"100ms\"\n";
    let node = Node::configured("", &format!("{keys}{ON}"));
    let _others = [Service::Distribution, Service::Bundle, Service::Runtime]
        .map(|service| node.start(service, fakes::parts("part")));
    let within = |within| check_within(&node.config, &node.tasks, within);
    let away = within(Duration::from_millis(300)).await.unwrap_err().to_string();
    assert!(
        away.starts_with("ask cri for required plugins (io.containerd.grpc.v1.cri): "),
        "{away}"
    );
    let mut client = IntrospectionClient::new(node.channel.clone());
    let mut known = async |kind: &str, id: &str| {
        let asked = PluginInfoRequest { r#type: kind.into(), id: id.into(), options: None };
        client.plugin_info(asked).await.map(drop).map_err(|status| status.code())
    };
    assert_eq!(known("io.containerd.grpc.v1", "cri").await, Err(Code::Unavailable));
    assert_eq!(known("io.containerd.grpc.v1", "none").await, Err(Code::NotFound));
    let _cri = node.start(Service::Cri, fakes::plugin("io.containerd.grpc.v1", "cri"));
    within(Duration::from_secs(20)).await.unwrap();
    assert_eq!(known("io.containerd.grpc.v1", "cri").await, Ok(()));
}
