//! Which traces are kept: what whoever began one decided stays decided, unless `OTEL_TRACES_SAMPLER`
//! says otherwise.

use std::sync::{Arc, PoisonError, RwLock};

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Spans of this name are parts of traces, and none by themselves: tasks of a process run as long as it
/// does.
const PARTS: [&str; 2] = ["task", "blocking"];

/// As the variables say, else `ratio` of the traces that begin here; all of them without one.
pub(crate) fn of(ratio: Option<f64>, variable: impl Fn(&str) -> Option<String>) -> Calls {
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    let Some(kind) = variable("OTEL_TRACES_SAMPLER") else {
        return Calls(by_parent(Sampler::TraceIdRatioBased(ratio.unwrap_or(1.0))));
    };
    let argument = || {
        let given = variable("OTEL_TRACES_SAMPLER_ARG");
        let ratio = given.as_deref().and_then(|text| text.trim().parse::<f64>().ok());
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        if given.is_some() && ratio.is_none() {
            tracing::warn!(given, "OTEL_TRACES_SAMPLER_ARG is no ratio of 0 to 1: 1 counts");
        }
        ratio.unwrap_or(1.0)
    };
    Calls(match kind.trim() {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(argument()),
        "parentbased_always_on" => by_parent(Sampler::AlwaysOn),
        "parentbased_always_off" => by_parent(Sampler::AlwaysOff),
        "parentbased_traceidratio" => by_parent(Sampler::TraceIdRatioBased(argument())),
        _ => {
            tracing::warn!(kind, "OTEL_TRACES_SAMPLER is not known: parentbased_always_on counts");
            by_parent(Sampler::AlwaysOn)
        }
    })
}

/// What decides at this time. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Sampling(Arc<RwLock<Calls>>);

impl Sampling {
    /// Has `calls` decide from now on.
    pub(crate) fn set(&self, calls: Calls) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = calls;
    }
}

impl Default for Sampling {
    /// Nothing is kept.
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Calls(Sampler::AlwaysOff))))
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let now = self.0.read().unwrap_or_else(PoisonError::into_inner);
        now.should_sample(parent, trace, name, kind, attributes, links)
    }
}

/// Samples traces that are more than a process's own tasks.
#[derive(Clone, Debug)]
pub(crate) struct Calls(Sampler);

impl ShouldSample for Calls {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let begins = parent.is_none_or(|parent| !parent.span().span_context().is_valid());
        if begins && PARTS.contains(&name) {
            let (attributes, trace_state) = (Vec::new(), Default::default());
            return SamplingResult { decision: SamplingDecision::Drop, attributes, trace_state };
        }
        self.0.should_sample(parent, trace, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_go_before_the_configuration() {
        let of = |ratio, set: &[(&str, &str)]| {
            let found = |name: &str| Some(set.iter().find(|(key, _)| *key == name)?.1.to_owned());
            format!("{:?}", super::of(ratio, found).0)
        };
        let (kind, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
        assert_eq!(of(Some(0.25), &[]), "ParentBased(TraceIdRatioBased(0.25))");
        assert_eq!(of(None, &[]), "ParentBased(TraceIdRatioBased(1.0))");
        assert_eq!(of(Some(0.25), &[(kind, "always_off")]), "AlwaysOff");
        let half = [(kind, "parentbased_traceidratio"), (argument, "0.5")];
        assert_eq!(of(Some(0.25), &half), "ParentBased(TraceIdRatioBased(0.5))");
        for bad in ["-1", "2", "NaN", "x"] {
            let ratio = of(None, &[(kind, "traceidratio"), (argument, bad)]);
            assert_eq!(ratio, "TraceIdRatioBased(1.0)", "{bad}");
        }
        assert_eq!(of(None, &[(kind, "xray")]), "ParentBased(AlwaysOn)");
    }

    #[test]
    fn a_task_is_no_trace_by_itself() {
        let decided = |name| {
            let trace = TraceId::from(1);
            let sampler = of(None, |_| None);
            sampler.should_sample(None, trace, name, &SpanKind::Internal, &[], &[]).decision
        };
        assert_eq!(decided("task"), SamplingDecision::Drop);
        assert_eq!(decided("call"), SamplingDecision::RecordAndSample);
    }
}
