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
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
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
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"))
        .or_else(|| telemetry.otlp_endpoint.clone())
}

/// What takes spans on their way to the collector at `endpoint`, and whether that takes none. Must be
/// called inside the runtime.
pub(crate) fn processor(
    endpoint: &str,
    resource: &Resource,
) -> Result<(BatchSpanProcessor, Arc<AtomicBool>), Error> {
    let failed = |source| Error::Exporter { endpoint: endpoint.to_owned(), source };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_DEADLINE)
        .build()
        .map_err(failed)?;
    let failing = Arc::new(AtomicBool::new(false));
    let told = Told { exporter, failing: failing.clone() };
    let mut processor = BatchSpanProcessor::builder(told).build();
    processor.set_resource(resource);
    Ok((processor, failing))
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
}
