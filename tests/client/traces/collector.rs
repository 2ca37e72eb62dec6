//! A collector of spans, and what came to it as a tree.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use berth_testkit::Authority;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

type Came = Arc<Mutex<Vec<(MetadataMap, ExportTraceServiceRequest)>>>;

struct Service(Came);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (headers, _, spans) = request.into_parts();
        self.0.lock().expect("whole").push((headers, spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Takes spans as long as it lives.
pub struct Collector {
    pub endpoint: String,
    came: Came,
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Collector {
    pub async fn start() -> Result<Self> {
        Self::serve("http", Server::builder()).await
    }

    /// One with TLS, and a certificate of this authority's.
    pub async fn certified(by: &Authority) -> Result<Self> {
        by.issue("collector")?;
        let read = |name: &str| fs_err::read(by.path(name));
        let identity = Identity::from_pem(read("collector.pem")?, read("collector.key")?);
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve("https", Server::builder().tls_config(tls)?).await
    }

    async fn serve(scheme: &str, mut server: Server) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("{scheme}://{}", listener.local_addr()?);
        let came = Came::default();
        let mut serving = JoinSet::new();
        let service = TraceServiceServer::new(Service(came.clone()));
        let incoming = TcpListenerStream::new(listener);
        serving.spawn(server.add_service(service).serve_with_incoming(incoming));
        Ok(Self { endpoint, came, _serving: serving })
    }

    /// Of each resource whose spans came this attribute, with this header of the call.
    pub fn told(&self, attribute: &str, header: &str) -> Vec<(Option<String>, Option<String>)> {
        let came = self.came.lock().expect("whole");
        let of = |(headers, export): &(MetadataMap, ExportTraceServiceRequest)| {
            let header = headers.get(header).and_then(|value| value.to_str().ok());
            let header = header.map(str::to_owned);
            let resources = export.resource_spans.iter().filter_map(|of| of.resource.as_ref());
            let attributes = resources.map(|of| text(&of.attributes, attribute).map(str::to_owned));
            attributes.map(|attribute| (attribute, header.clone())).collect::<Vec<_>>()
        };
        came.iter().flat_map(of).collect()
    }

    /// All that came, by number.
    pub fn spans(&self) -> Spans {
        let came = self.came.lock().expect("whole");
        let mut spans = HashMap::new();
        for of_resource in came.iter().flat_map(|(_, export)| &export.resource_spans) {
            let resource = of_resource.resource.as_ref();
            let attributes = resource.map(|resource| &*resource.attributes).unwrap_or_default();
            let service = text(attributes, "service.name").unwrap_or_default();
            for span in of_resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                spans.insert(span.span_id.clone(), (service.to_owned(), span.clone()));
            }
        }
        Spans(spans)
    }
}

/// Spans with the services that sent them.
pub struct Spans(HashMap<Vec<u8>, (String, Span)>);

impl Spans {
    /// Those of one trace.
    pub fn of(&self, trace: &str) -> Self {
        let of = |span: &Span| hex(&span.trace_id) == trace;
        let those = self.0.iter().filter(|(_, (_, span))| of(span));
        Self(those.map(|(id, span)| (id.clone(), span.clone())).collect())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The spans at the end of such a way from the trace's begin: `SERVICE NAME` each. Tasks and
    /// threads within a service are no stations.
    pub fn at(&self, way: &[&str]) -> Vec<&Span> {
        let there = |(_, span): &&(String, Span)| is_station(span) && self.way(span).iter().eq(way);
        self.0.values().filter(there).map(|(_, span)| span).collect()
    }

    /// All ways, for people.
    pub fn ways(&self) -> String {
        let mut ways: Vec<_> = self
            .0
            .values()
            .map(|(_, s)| format!("{} ({})", self.way(s).join(" > "), s.name))
            .collect();
        ways.sort();
        ways.join("\n")
    }

    fn way(&self, span: &Span) -> Vec<String> {
        let (mut way, mut at) = (Vec::new(), Some(span));
        while let Some(span) = at {
            let (service, _) = &self.0[&span.span_id];
            if is_station(span) {
                way.insert(0, format!("{} {}", service.trim_start_matches("berth-"), span.name));
            }
            let above = self.0.get(&span.parent_span_id).map(|(_, span)| span);
            if above.is_none() {
                way.insert(0, hex(&span.parent_span_id));
            }
            at = above;
        }
        way
    }
}

fn is_station(span: &Span) -> bool {
    span.name != "task" && span.name != "blocking"
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of an attribute.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
