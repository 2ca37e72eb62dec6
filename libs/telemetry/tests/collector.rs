//! Spans of a process that ends arrive at a collector.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_config::Log;
use common::Collector;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

/// The text of an attribute.
fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn the_last_spans_of_a_process_arrive_under_its_name() {
    let mut collector = Collector::start().await;
    let telemetry = collector.telemetry();
    let guard = berth_telemetry::init("test", &Log::default(), &telemetry).unwrap();
    tracing::info_span!("work", id = "box").in_scope(|| tracing::info!("done"));
    guard.finish().await.unwrap();

    // Finishing has waited for the collector's answer.
    let export = collector.came.try_recv().unwrap();
    assert!(collector.came.try_recv().is_err(), "one batch was enough");
    let [of_resource] = &*export.resource_spans else { panic!("{export:?}") };
    let attributes = &of_resource.resource.as_ref().unwrap().attributes;
    assert_eq!(text(attributes, "service.name"), Some("test"));
    assert_eq!(text(attributes, "service.namespace"), Some("berth"));
    let spans: Vec<_> = of_resource.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    let [work] = &*spans else { panic!("{spans:?}") };
    assert_eq!(work.name, "work");
    assert_eq!(text(&work.attributes, "id"), Some("box"));
    assert!(work.end_time_unix_nano >= work.start_time_unix_nano);
    assert!(work.events.iter().any(|event| event.name == "done"), "{work:?}");
}
