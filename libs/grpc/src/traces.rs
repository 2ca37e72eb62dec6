//! The spans of calls: what lines of the log say that are written during one, and what collectors get of
//! them. What they are part of is read from a call's headers, and said to whoever is called in turn.
//!
//! As long as no spans are kept a span has what the log says of it and no more: names in the headers of
//! the call, which are copied nowhere but into the log's own text. What a client sent passes as it is.

use berth_trace::{TRACEPARENT, TRACESTATE};
use http::{HeaderMap, HeaderValue, Request};
use tonic::Code;
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::NAMESPACE_HEADER;

/// Longer names are none of ours.
const LONGEST: usize = 256;

/// The span of a call: part of the trace that it names, or of one of its own if it names none and spans
/// are kept.
pub(crate) fn begin<B>(request: &Request<B>) -> Span {
    let kept = berth_trace::enabled();
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.len() > LONGEST { "unknown" } else { path };
    let (service, method) = path.split_once('/').unwrap_or(("", path));
    let namespace = header(NAMESPACE_HEADER).filter(|name| name.len() <= LONGEST);
    let came = header(TRACEPARENT);
    let ids = came.filter(|_| !kept).and_then(berth_trace::ids);
    let span = tracing::span!(
        target: berth_trace::CALLS,
        parent: None,
        Level::ERROR,
        "call",
        otel.name = kept.then_some(path),
        otel.kind = kept.then_some("server"),
        otel.status_code = Empty,
        rpc.system = kept.then_some("grpc"),
        rpc.service = kept.then_some(service),
        rpc.method = kept.then_some(method),
        rpc.grpc.status_code = Empty,
        namespace,
        id = Empty,
        exec = Empty,
        trace_id = ids.map(|(trace, _)| trace),
        span_id = ids.map(|(_, span)| span),
    );
    if kept {
        berth_trace::adopt(&span, came, header(TRACESTATE));
        if let Some(context) = berth_trace::context(&span) {
            span.record("trace_id", format!("{:032x}", context.trace));
            span.record("span_id", format!("{:016x}", context.span));
        }
    }
    span
}

/// What the call ended with. Codes that are the server's fault make it one that failed, as
/// OpenTelemetry's conventions have it.
pub(crate) fn end(span: &Span, code: Code) {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    if span.is_none() || !berth_trace::enabled() {
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
