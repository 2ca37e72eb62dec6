//! The spans of calls: what they are part of is read from a call's headers, and said to whoever is
//! called in turn.
//!
//! Without a tracer nothing is made and no header is looked at: what a client sent passes as it is.

use berth_trace::{TRACEPARENT, TRACESTATE};
use http::{HeaderMap, HeaderValue, Request};
use tonic::Code;
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::NAMESPACE_HEADER;

/// Longer names are none of ours.
const LONGEST: usize = 256;

/// The span of a call, part of the trace that it names; of one of its own if it names none.
pub(crate) fn begin<B>(request: &Request<B>) -> Span {
    if !berth_trace::enabled() {
        return Span::none();
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.len() > LONGEST { "unknown" } else { path };
    let (service, method) = path.split_once('/').unwrap_or(("", path));
    let namespace = header(NAMESPACE_HEADER).filter(|name| name.len() <= LONGEST);
    let span = tracing::span!(
        parent: None,
        Level::INFO,
        "call",
        otel.name = path,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        namespace,
        id = Empty,
        exec = Empty,
        trace_id = Empty,
        span_id = Empty,
    );
    berth_trace::adopt(&span, header(TRACEPARENT), header(TRACESTATE));
    if let Some(context) = berth_trace::context(&span) {
        span.record("trace_id", format!("{:032x}", context.trace));
        span.record("span_id", format!("{:016x}", context.span));
    }
    span
}

/// What the call ended with. Codes that are the server's fault make it one that failed, as
/// OpenTelemetry's conventions have it.
pub(crate) fn end(span: &Span, code: Code) {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    if span.is_none() {
        return;
    }
    span.record("rpc.grpc.status_code", code as i64);
    let failed = [Unknown, DeadlineExceeded, Unimplemented, Internal, Unavailable, DataLoss];
    if failed.contains(&code) {
        span.record("otel.status_code", "error");
    }
}

/// Says which span a call is made in.
pub(crate) fn inject(headers: &mut HeaderMap) {
    if !berth_trace::enabled() {
        return;
    }
    let Some(context) = berth_trace::current() else { return };
    if let Ok(parent) = HeaderValue::try_from(context.traceparent()) {
        headers.insert(TRACEPARENT, parent);
    }
    headers.remove(TRACESTATE);
    if let Some(state) = HeaderValue::try_from(context.state).ok().filter(|state| !state.is_empty())
    {
        headers.insert(TRACESTATE, state);
    }
}
