//! Spans to a collector: which, where to, and as whose.
//!
//! What OpenTelemetry's variables say goes before the configuration, as in containerd. A collector that
//! is down or slow costs the room of one queue (2048 spans, `OTEL_BSP_MAX_QUEUE_SIZE`): what does not
//! fit is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use berth_config::Telemetry;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SpanData, SpanProcessor as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::Error;

/// How long one batch of spans may take on its way to the collector.
const EXPORT_DEADLINE: Duration = Duration::from_secs(5);

/// A variable that says something: an empty one does not, as the specification has it.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Where spans are sent to. Nobody: nothing is traced.
pub(crate) fn endpoint(
    telemetry: &Telemetry,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if telemetry.left_out {
        return None;
    }
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    of_traces("ENDPOINT", &variable).or_else(|| telemetry.otlp_endpoint.clone())
}

/// What a variable of the exporter says: that of traces goes before that of all.
fn of_traces(name: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let of = |whose: &str| variable(&format!("OTEL_EXPORTER_OTLP_{whose}{name}"));
    of("TRACES_").or_else(|| of(""))
}

/// Whoever names no scheme means TLS, unless a variable says that there is none.
fn with_scheme(address: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let plain = of_traces("INSECURE", variable);
    let plain = plain.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    format!("{}://{address}", if plain { "http" } else { "https" })
}

/// Spans go one way, whatever a variable asks for; the one that does is told of.
pub(crate) fn other_protocol(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    of_traces("PROTOCOL", variable).filter(|protocol| protocol.trim() != "grpc")
}

/// What takes spans on their way to the collector at `endpoint`, and whether that takes none. Must be
/// called inside the runtime.
pub(crate) fn processor(
    endpoint: &str,
    resource: &Resource,
) -> Result<(BatchSpanProcessor, Arc<AtomicBool>), Error> {
    let failed = |source| Error::Exporter { endpoint: endpoint.to_owned(), source };
    let exporter = exporter(endpoint, variable).map_err(failed)?;
    let failing = Arc::new(AtomicBool::new(false));
    let told = Told { exporter, failing: failing.clone() };
    let mut processor = BatchSpanProcessor::builder(told).build();
    processor.set_resource(resource);
    Ok((processor, failing))
}

fn exporter(
    endpoint: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<SpanExporter, ExporterBuildError> {
    let endpoint = with_scheme(endpoint, &variable);
    let plain = || {
        let builder = SpanExporter::builder().with_tonic();
        builder.with_endpoint(&*endpoint).with_timeout(EXPORT_DEADLINE)
    };
    let scheme = endpoint.split_once("://").map_or("", |(scheme, _)| scheme);
    if !scheme.eq_ignore_ascii_case("https") {
        return plain().build();
    }
    let tls = match of_traces("CERTIFICATE", variable) {
        Some(file) => authority(&file),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    plain().with_tls_config(tls).build().or_else(|error| {
        // Nobody is trusted then, so that no collector is; which is no reason to end a node's start.
        let exporter = plain().build()?;
        tracing::warn!(%error, "there are no certificates to know the collector by, it gets no spans");
        Ok(exporter)
    })
}

/// Trusts who is certified by the authorities in `file` alone.
fn authority(file: &str) -> ClientTlsConfig {
    let none = ClientTlsConfig::new();
    match fs_err::read(file) {
        Ok(pem) => none.ca_certificate(Certificate::from_pem(pem)),
        Err(error) => {
            tracing::warn!(%error, "OTEL_EXPORTER_OTLP_CERTIFICATE cannot be read, the collector gets no spans");
            none
        }
    }
}

/// Whose spans they are.
pub(crate) fn resource(service: &'static str) -> Resource {
    // What the variables say of the service is in it already.
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.namespace", "berth"))
        .with_attribute(KeyValue::new("process.executable.name", service))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())));
    let named = variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| {
        all.split(',').any(|pair| pair.trim_start().starts_with("service.name="))
    });
    if !named && variable("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(service);
    }
    resource.build()
}

/// Says once that spans do not arrive, and once that they do again.
#[derive(Debug)]
struct Told {
    exporter: SpanExporter,
    failing: Arc<AtomicBool>,
}

impl opentelemetry_sdk::trace::SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        match (&sent, self.failing.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(
                %error,
                "the collector takes no spans, they are dropped until it does: see telemetry.otlp_endpoint"
            ),
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// OpenTelemetry's for the process.
pub(crate) struct Tracer(pub(crate) SdkTracer);

impl berth_trace::Tracer for Tracer {
    fn adopt(&self, span: &Span, context: &berth_trace::Context) {
        // Nobody wants the span, or it has begun: then it stays what it is.
        let _ = span.set_parent(remote(context));
    }

    fn context(&self, span: &Span) -> Option<berth_trace::Context> {
        let context = span.context();
        let there = context.span().span_context().clone();
        there.is_valid().then(|| berth_trace::Context {
            trace: u128::from_be_bytes(there.trace_id().to_bytes()),
            span: u64::from_be_bytes(there.span_id().to_bytes()),
            sampled: there.is_sampled(),
            state: there.trace_state().header(),
        })
    }

    fn record(
        &self,
        parent: &berth_trace::Context,
        name: String,
        began: SystemTime,
        ended: SystemTime,
    ) {
        let span = SpanBuilder::from_name(name).with_start_time(began);
        self.0.build_with_context(span, &remote(parent)).end_with_timestamp(ended);
    }
}

fn remote(context: &berth_trace::Context) -> Context {
    let (trace, span) = (TraceId::from(context.trace), SpanId::from(context.span));
    let flags = if context.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let state: TraceState = context.state.parse().unwrap_or_default();
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_go_before_the_configuration() {
        let telemetry =
            Telemetry { otlp_endpoint: Some("http://c".into()), ..Telemetry::default() };
        let of = |set: &[(&str, &str)]| {
            endpoint(&telemetry, |name| {
                Some(set.iter().find(|(key, _)| *key == name)?.1.to_owned())
            })
        };
        let (all, traces) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert_eq!(of(&[]).as_deref(), Some("http://c"));
        assert_eq!(of(&[(all, "http://a")]).as_deref(), Some("http://a"));
        assert_eq!(of(&[(all, "http://a"), (traces, "http://t")]).as_deref(), Some("http://t"));
        assert_eq!(of(&[(all, "http://a"), ("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(of(&[("OTEL_SDK_DISABLED", "1")]).as_deref(), Some("http://c"));
        let left_out = Telemetry { left_out: true, ..telemetry.clone() };
        assert_eq!(endpoint(&left_out, |_| Some("http://a".into())), None);
    }

    #[test]
    fn whoever_names_no_scheme_means_tls() {
        let of = |address, set: &str| {
            with_scheme(address, |name| (name == set).then(|| "True".to_owned()))
        };
        assert_eq!(of("c:4317", ""), "https://c:4317");
        for insecure in ["OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_TRACES_INSECURE"] {
            assert_eq!(of("c:4317", insecure), "http://c:4317");
            assert_eq!(of("https://c:4317", insecure), "https://c:4317");
        }
    }

    #[test]
    fn another_way_than_grpc_is_told_of() {
        for (name, value, expected) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", None),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", Some("http/protobuf")),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", Some("http/json")),
        ] {
            let found = |asked: &str| (asked == name).then(|| value.to_owned());
            assert_eq!(other_protocol(found).as_deref(), expected);
        }
        assert_eq!(other_protocol(|_| None), None);
    }

    /// A machine may have no certificates at all, and a file may be none.
    #[tokio::test]
    async fn what_is_wrong_with_certificates_ends_no_start() {
        for file in [None, Some("/none/such"), Some("/proc/self/cmdline")] {
            let found = |name: &str| {
                (name == "OTEL_EXPORTER_OTLP_CERTIFICATE").then(|| file.map(str::to_owned))?
            };
            let made = exporter("https://localhost:4317", found);
            assert!(made.is_ok(), "{file:?}: {made:?}");
        }
        assert!(exporter("https://no address", |_| None).is_err());
    }
}
