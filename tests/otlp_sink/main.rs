//! Stands for an OpenTelemetry collector where there is none: takes spans on its usual port and says of each which
//! service sent it and what it is called. Started as the collector is, with a configuration that it does not read.

use std::io::Write;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

struct Says;

#[tonic::async_trait]
impl TraceService for Says {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut said = String::new();
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let service = name(&attributes);
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                said.push_str(&format!("{service} {}\n", span.name));
            }
        }
        std::io::stdout().lock().write_all(said.as_bytes())?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn name(attributes: &[KeyValue]) -> String {
    let named = attributes.iter().find(|attribute| attribute.key == "service.name");
    match named.and_then(|named| named.value.clone()?.value) {
        Some(Value::StringValue(name)) => name,
        _ => "unnamed".to_owned(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // The first process of a container ends by no signal that it does not wait for.
    let mut end = signal(SignalKind::terminate())?;
    let ended = async move {
        end.recv().await;
    };
    let server = Server::builder().add_service(TraceServiceServer::new(Says));
    server.serve_with_shutdown("0.0.0.0:4317".parse()?, ended).await.context("take spans")
}
