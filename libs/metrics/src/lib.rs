//! What a process counts, and how it tells it to Prometheus.
//!
//! Owns: the one registry of the process, what every process tells of itself, and the text. Must not
//! know: what is counted; whoever counts registers it here once, by a name without `berth_`.
//!
//! What there is, as against what happened, is looked up when somebody asks ([`walked`], [`asked`]), so
//! that it is what the store says and costs nothing in between.
//!
//! One registry for the process, as there is one log: whoever counts need not be handed it. Values of
//! labels come from us, never from a client as they are: their number is bounded by whoever registers.

mod bounded;
mod merge;
mod process;
mod samples;
mod sources;
mod times;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

pub use bounded::{Bounded, Groups, OTHER};
pub use merge::{labelled, merge, sum};
pub use prometheus_client::collector::Collector;
pub use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet,
};
pub use prometheus_client::metrics::MetricType;
pub use prometheus_client::metrics::counter::{ConstCounter, Counter};
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
pub use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::Metric;
pub use samples::{Samples, Told};
pub use sources::{Names, PATIENCE, asked, counted, walked};
pub use times::{Running, Times, Work};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of histograms of times, in seconds: from what memory does to what people wait for.
pub const SECONDS: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0];

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix("berth");
    registry.register_collector(Box::new(process::Process::new()));
    Mutex::new(registry)
});

fn registry() -> MutexGuard<'static, Registry> {
    // It only grows, by single calls.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a metric under `berth_NAME`; answers it.
pub fn register<M: Metric + Clone>(name: &str, help: &str, metric: M) -> M {
    registry().register(name, help, metric.clone());
    metric
}

/// Registers what is looked up whenever somebody asks.
pub fn register_collector(collector: Box<dyn Collector>) {
    registry().register_collector(collector);
}

/// What is counted, in Prometheus' text format, without what has to be looked up.
#[must_use]
pub fn text() -> String {
    let mut text = String::new();
    // Nothing but the string is written to, which takes everything.
    let _ = prometheus_text::encode(&mut text, &registry());
    text
}

/// All that the process tells, in Prometheus' text format; after [`PATIENCE`] what was not looked up
/// by then is missing, and named.
pub async fn all() -> String {
    let mut text = text();
    text.push_str(&sources::gather(Names::Ours).await.text());
    text
}

/// What the process tells by containerd's names, in the same format and time.
pub async fn as_containerd() -> String {
    sources::gather(Names::Containerds).await.text()
}

#[cfg(test)]
mod tests {
    use berth_testkit::program;

    use super::*;

    #[test]
    fn what_is_counted_is_told_and_is_as_prometheus_has_it() {
        let counter: Counter = register("tests", "Tests that ran", Counter::default());
        counter.inc_by(2);
        let text = text();
        let build = format!("berth_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        for line in ["berth_tests_total 2", "# TYPE berth_tests_total counter", &build] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        for name in [
            "process_open_fds",
            "process_max_fds",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(&format!("berth_{name} ")));
            assert!(value.unwrap().parse::<f64>().unwrap() > 0.0, "{name} in {text}");
        }
        let checked = program("promtool").args(["check", "metrics"]).output_with(text.as_bytes());
        let checked = checked.unwrap();
        assert_eq!((checked.code, checked.stdout.as_str()), (0, ""), "{checked}\n{text}");
    }
}
