//! A collector that says nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use berth_config::{Log, Telemetry};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn a_collector_that_is_silent_does_not_hold_a_process_that_ends() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let otlp_endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let telemetry = Telemetry { otlp_endpoint, ..Telemetry::default() };
    let wrong = Log { level: "loud=very".into(), ..Log::default() };
    let error = berth_telemetry::init("test", &wrong, &telemetry).unwrap_err();
    assert!(error.to_string().contains("loud=very"), "{error}");

    let guard = berth_telemetry::init("test", &Log::default(), &telemetry).unwrap();
    tracing::info_span!("work").in_scope(|| tracing::info!("done"));
    let collector = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut preface = [0; 16];
        stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n");
        // Kept open without an answer until the other side has enough.
        stream
    };
    let finishing = tokio::time::timeout(Duration::from_secs(30), guard.finish());
    let (finished, _stream) = tokio::join!(finishing, collector);
    assert!(finished.expect("finishing is bounded").is_err(), "it tells that nothing arrived");
}
