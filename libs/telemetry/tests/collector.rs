//! Spans of a process that ends arrive at a collector.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use berth_config::{Log, Telemetry};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A collector that hands on what it gets.
struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).map_err(|_| Status::cancelled("the test is over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The text of an attribute.
fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn the_last_spans_of_a_process_arrive_under_its_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let otlp_endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let (hand_on, mut received) = mpsc::unbounded_channel();
    let mut serving = JoinSet::new();
    serving.spawn(
        Server::builder()
            .add_service(TraceServiceServer::new(Collector(hand_on)))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );

    let guard = berth_telemetry::init(
        "test",
        &Log::default(),
        &Telemetry { otlp_endpoint, ..Telemetry::default() },
    )
    .unwrap();
    tracing::info_span!("work", id = "box").in_scope(|| tracing::info!("done"));
    guard.finish().await.unwrap();

    // Finishing has waited for the collector's answer.
    let export = received.try_recv().unwrap();
    assert!(received.try_recv().is_err(), "one batch was enough");
    let [of_resource] = &*export.resource_spans else { panic!("{export:?}") };
    let attributes = &of_resource.resource.as_ref().unwrap().attributes;
    assert_eq!(text(attributes, "service.name"), Some("test"));
    assert_eq!(text(attributes, "service.namespace"), Some("berth"));
    let spans: Vec<_> = of_resource.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    let [work] = &*spans else { panic!("{spans:?}") };
    assert_eq!(work.name, "work");
    assert_eq!(text(&work.attributes, "id"), Some("box"));
    assert!(work.end_time_unix_nano >= work.start_time_unix_nano);
    assert!(work.events.iter().any(|event| event.name == "done"), "{work:?}");
}
