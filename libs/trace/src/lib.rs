//! What a trace is called on its way through processes (W3C Trace Context), and whether anybody wants
//! to know.
//!
//! Owns: the two headers, and the one [`Tracer`] of a process. Must not know: how spans are kept or
//! sent, nor any protocol. As long as none are kept nothing is made or read: [`enabled`] is one load.

mod context;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tracing::Span;

pub use context::{Context, TRACEPARENT, TRACESTATE, ids};
#[doc(hidden)]
pub use tracing as __tracing;

/// The target of the spans of calls. They have the highest level, so that what is logged during a call
/// has its ids, whatever is logged.
pub const CALLS: &str = "berth_call";

static TRACER: OnceLock<Box<dyn Tracer>> = OnceLock::new();
static KEPT: AtomicBool = AtomicBool::new(false);

/// Whoever keeps spans.
pub trait Tracer: Send + Sync {
    /// Makes a span that was just made part of a trace that began elsewhere.
    fn adopt(&self, span: &Span, context: &Context);
    /// What a span is called, if it is kept.
    fn context(&self, span: &Span) -> Option<Context>;
    /// Keeps a span below `parent` of something that is over, done by a process that keeps none.
    fn record(&self, parent: &Context, name: String, began: SystemTime, ended: SystemTime);
}

/// Says who keeps spans, once [`keep`] says so. The first tracer of a process stays; false for another.
pub fn install(tracer: Box<dyn Tracer>) -> bool {
    TRACER.set(tracer).is_ok()
}

/// Whether spans are kept from now on.
pub fn keep(kept: bool) {
    KEPT.store(kept, Ordering::Relaxed);
}

/// Whether spans are kept.
#[must_use]
pub fn enabled() -> bool {
    KEPT.load(Ordering::Relaxed)
}

fn tracer() -> Option<&'static dyn Tracer> {
    TRACER.get().filter(|_| enabled()).map(|tracer| &**tracer)
}

/// Makes a new span part of the trace that `parent` and `state` name, if they name one.
pub fn adopt(span: &Span, parent: Option<&str>, state: Option<&str>) {
    if let Some(tracer) = tracer()
        && let Some(context) = parent.and_then(|parent| Context::parse(parent, state))
    {
        tracer.adopt(span, &context);
    }
}

/// What a span is called, if it is kept.
#[must_use]
pub fn context(span: &Span) -> Option<Context> {
    tracer()?.context(span)
}

/// What the span is called in which this is asked.
#[must_use]
pub fn current() -> Option<Context> {
    tracer()?.context(&Span::current())
}

/// Keeps a span of something that is over.
pub fn record(parent: &Context, name: String, began: SystemTime, ended: SystemTime) {
    if let Some(tracer) = tracer() {
        tracer.record(parent, name, began, ended);
    }
}

/// A span of a step of the work that is under way. None when no spans are kept.
#[macro_export]
macro_rules! stage {
    ($($span:tt)*) => {
        if $crate::enabled() {
            $crate::__tracing::info_span!($($span)*)
        } else {
            $crate::__tracing::Span::none()
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's process has no tracer: nothing is made, even with somebody who logs all spans.
    #[test]
    fn without_a_tracer_there_is_no_span() {
        assert!(!enabled());
        let evaluated = std::cell::Cell::new(false);
        let span = stage!(
            "fetch",
            digest = {
                evaluated.set(true);
                "x"
            }
        );
        assert!(span.is_none());
        assert!(!evaluated.get(), "its fields cost nothing");
        assert_eq!(current(), None);
    }
}
