//! What is counted of the calls to a process. The only test of its program: there is one count for each.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod plain;

use std::time::Duration;

use berth_grpc::{Channel, channel};
use berth_lifecycle::Tasks;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Service;

async fn get(channel: &Channel, path: &str) -> String {
    let (status, text) = plain::get(channel, path).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    text
}

#[tokio::test]
async fn calls_are_counted_and_what_watches_over_the_process_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let (tasks, channel) = (Tasks::new(), channel(&path));
    let (_, health) = tonic_health::server::health_reporter();
    berth_grpc::server::serve(&path, 0o600, Routes::new(health), &tasks).unwrap();
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    for path in ["/metrics", "/v1/metrics", "/healthz", "/readyz", "/metrics"] {
        get(&channel, path).await;
    }
    let text = get(&channel, "/metrics").await;
    let counted: Vec<_> =
        text.lines().filter(|line| line.starts_with("berth_grpc_calls_total{")).collect();
    let call = "berth_grpc_calls_total{method=\"/grpc.health.v1.Health/Check\",code=\"OK\"} 1";
    assert_eq!(counted, [call]);
    assert!(text.contains("\nberth_grpc_calls_under_way 0\n"), "{text}");
    // What a client makes up gets no place of its own.
    for name in ["/tea.v1.Tea/Pour", "/tea.v1.Tea/Drink", "/grpc.health.v1.Health/Unknown"] {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = format!("http://localhost{name}").parse().unwrap();
        *request.method_mut() = http::Method::POST;
        let kind = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        let answer = channel.clone().call(request).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "12", "{name}");
    }
    let text = get(&channel, "/metrics").await;
    let mut counted: Vec<_> =
        text.lines().filter(|line| line.starts_with("berth_grpc_calls_total{")).collect();
    counted.sort_unstable();
    let unknown = "berth_grpc_calls_total{method=\"unknown\",code=\"UNIMPLEMENTED\"} 3";
    assert_eq!(counted, [call, unknown]);
    // Nobody called a node.
    let theirs = get(&channel, "/v1/metrics").await;
    assert!(!theirs.contains("grpc_server_"), "{theirs}");
    drop(channel);
    assert!(tasks.drain(Duration::from_secs(20)).await.is_empty());
}
