//! Spans of a process that ends arrive at a collector.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use berth_config::{Log, Telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A listener stands in for the collector: what matters here is that the exporter speaks to it
/// and that a silent one cannot hold the process.
#[tokio::test]
async fn spans_are_sent_and_a_silent_collector_holds_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let otlp_endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let telemetry = Telemetry { otlp_endpoint };
    let wrong = Log { level: "loud=very".into(), ..Log::default() };
    let error = berth_telemetry::init("test", &wrong, &telemetry).unwrap_err();
    assert!(error.to_string().contains("loud=very"), "{error}");

    let guard = berth_telemetry::init("test", &Log::default(), &telemetry).unwrap();
    tracing::info_span!("work").in_scope(|| tracing::info!("done"));
    let collector = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface[..16], b"PRI * HTTP/2.0\r\n");
        // Not HTTP/2: the export fails.
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    };
    let (finished, ()) =
        tokio::join!(tokio::time::timeout(Duration::from_secs(30), guard.finish()), collector);
    assert!(finished.is_ok(), "finishing is bounded");
}
