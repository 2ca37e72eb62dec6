//! A collector of spans in the process of a test.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use berth_config::Telemetry;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

struct Service(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).map_err(|_| Status::cancelled("the test is over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Takes spans as long as it lives.
pub struct Collector {
    pub endpoint: String,
    pub came: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (hand_on, came) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        let service = TraceServiceServer::new(Service(hand_on));
        let incoming = TcpListenerStream::new(listener);
        serving.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { endpoint, came, _serving: serving }
    }

    /// What sends spans here.
    pub fn telemetry(&self) -> Telemetry {
        Telemetry { otlp_endpoint: Some(self.endpoint.clone()), ..Telemetry::default() }
    }

    /// The names of the next spans that come.
    pub async fn next(&mut self) -> Vec<String> {
        let came = tokio::time::timeout(Duration::from_secs(60), self.came.recv()).await;
        names(&came.expect("spans come").unwrap())
    }

    /// The names of those that have come meanwhile.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.came.try_recv().ok()).flat_map(|came| names(&came)).collect()
    }
}

fn names(export: &ExportTraceServiceRequest) -> Vec<String> {
    let scopes = export.resource_spans.iter().flat_map(|of| &of.scope_spans);
    scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
}
