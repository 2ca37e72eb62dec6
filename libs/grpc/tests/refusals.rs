//! Bytes that are no message: whose mistake they are.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use berth_grpc::{Channel, channel, told, wire_code};
use berth_lifecycle::Tasks;
use bytes::Bytes;
use tokio::net::UnixListener;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// One gRPC message of a byte that begins no field.
const GARBAGE: &[u8] = &[0, 0, 0, 0, 1, 0xff];

/// Asks somebody else, in whose words it answers.
struct Asking(Channel);

#[tonic::async_trait]
impl Health for Asking {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        HealthClient::new(self.0.clone()).check(request.into_inner()).await.map_err(|status| {
            let (code, message) = told(&status, "differ theirs");
            Status::new(wire_code(code), message)
        })
    }

    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

/// Answers every call with garbage, and that all is well.
async fn answer_garbage(listener: UnixListener) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(call) = connection.accept().await {
        let (_, mut respond) = call.unwrap();
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(GARBAGE), false).unwrap();
        let well = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
        body.send_trailers(well.into_iter().collect()).unwrap();
    }
}

/// Sends garbage; answers the status in the head.
async fn send_garbage(path: &std::path::Path) -> Status {
    let stream = tokio::net::UnixStream::connect(path).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let asking = async {
        let head = http::Request::post("http://localhost/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let (answer, mut body) = sender.send_request(head.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(GARBAGE), true).unwrap();
        let answer = answer.await.unwrap();
        Status::from_header_map(answer.headers()).unwrap()
    };
    tokio::select! {
        status = asking => status,
        ended = connection => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn a_request_is_its_senders_mistake_and_an_answer_is_its_peers() {
    let dir = tempfile::tempdir().unwrap();
    let (front, back) = (dir.path().join("front.sock"), dir.path().join("back.sock"));
    let tasks = Tasks::new();
    let garbage = answer_garbage(UnixListener::bind(&back).unwrap());
    let routes = Routes::new(HealthServer::new(Asking(channel(&back))));
    berth_grpc::server::serve(&front, 0o600, routes, &tasks).unwrap();
    let asking = async {
        let ask = HealthCheckRequest::default();
        let told = HealthClient::new(channel(&front)).check(ask).await.unwrap_err();
        let sent = send_garbage(&front).await;
        (told, sent)
    };
    let (told, sent) = tokio::select! {
        answers = asking => answers,
        () = garbage => panic!("it goes on"),
    };
    assert_eq!(told.code(), Code::Internal, "{told:?}");
    let named = "differ theirs answered with what is no message: failed to decode";
    assert!(told.message().starts_with(named), "{told:?}");
    assert_eq!(sent.code(), Code::InvalidArgument, "{sent:?}");
    assert!(sent.message().starts_with("grpc.health.v1.Health/Check: failed"), "{sent:?}");
    assert!(tasks.drain(Duration::from_secs(30)).await.is_empty());
}
