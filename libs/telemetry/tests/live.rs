//! Where spans go, and whether they do, changes while a process runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_config::{Log, Telemetry};
use common::Collector;
use tracing::Span;

/// A span that no line of the log needs, hence one that is only made when it is kept.
fn work(name: &str) -> Span {
    tracing::info_span!("work", otel.name = name)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_where_the_configuration_says_meanwhile() {
    let (mut one, mut two) = (Collector::start().await, Collector::start().await);
    let log = Log { level: "warn".into(), ..Log::default() };
    let guard = berth_telemetry::init("test", &log, &Telemetry::default()).unwrap();
    let live = guard.live();
    assert!(work("off").is_disabled(), "nobody wants it, and it is made");
    assert!(!berth_trace::enabled());

    live.set_spans(&one.telemetry()).unwrap();
    assert!(berth_trace::enabled());
    drop(work("first"));
    let across = work("across");
    // The earlier one gets at once what it has not got yet.
    live.set_spans(&two.telemetry()).unwrap();
    assert_eq!(one.next().await, ["first"]);
    drop(across);
    drop(work("second"));

    // What cannot be leaves everything as it was.
    let nowhere = Telemetry { otlp_endpoint: Some("no address".into()), ..Telemetry::default() };
    let error = live.set_spans(&nowhere).unwrap_err().to_string();
    assert!(error.contains("telemetry.otlp_endpoint \"no address\""), "{error}");
    let more = Telemetry { sampling_ratio: Some(2.0), ..one.telemetry() };
    let error = live.set_spans(&more).unwrap_err().to_string();
    assert!(error.contains("telemetry.sampling_ratio is 2"), "{error}");
    drop(work("third"));

    let none = Telemetry { sampling_ratio: Some(0.0), ..two.telemetry() };
    live.set_spans(&none).unwrap();
    drop(work("left out"));
    live.set_spans(&two.telemetry()).unwrap();
    drop(work("fourth"));

    let across = work("ends too late");
    live.set_spans(&Telemetry::default()).unwrap();
    assert_eq!(two.next().await, ["across", "second", "third", "fourth"]);
    drop(across);
    assert!(work("off").is_disabled());
    assert!(!berth_trace::enabled());

    live.set_spans(&one.telemetry()).unwrap();
    drop(work("last"));
    guard.finish().await.unwrap();
    assert_eq!(one.rest(), ["last"]);
    assert!(two.rest().is_empty());
}
