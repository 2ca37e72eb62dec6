//! Spans of a process that ends arrive at a collector.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_config::Log;
use berth_lifecycle::Tasks;
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
    let (tasks, work) = (Tasks::new(), tracing::info_span!("work", id = "box"));
    let [part, apart] = work.in_scope(|| {
        tracing::info!("done");
        [tasks.spawn("part", async {}), tasks.spawn_apart("apart", async {})]
    });
    drop(work);
    part.await.unwrap();
    apart.await.unwrap();
    guard.finish().await.unwrap();

    // Finishing has waited for the collector's answer.
    let export = collector.came.try_recv().unwrap();
    assert!(collector.came.try_recv().is_err(), "one batch was enough");
    let [of_resource] = &*export.resource_spans else { panic!("{export:?}") };
    let attributes = &of_resource.resource.as_ref().unwrap().attributes;
    assert_eq!(text(attributes, "service.name"), Some("test"));
    assert_eq!(text(attributes, "service.namespace"), Some("berth"));
    let spans: Vec<_> = of_resource.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    // What was started apart is no part of it, and nothing by itself.
    let [part, work] = &*spans else { panic!("{spans:?}") };
    assert_eq!((&*part.name, text(&part.attributes, "job")), ("task", Some("part")));
    assert_eq!(part.parent_span_id, work.span_id);
    assert_eq!(work.name, "work");
    assert_eq!(text(&work.attributes, "id"), Some("box"));
    assert!(work.end_time_unix_nano >= work.start_time_unix_nano);
    assert!(work.events.iter().any(|event| event.name == "done"), "{work:?}");
}
