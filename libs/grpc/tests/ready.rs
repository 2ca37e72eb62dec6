//! Whether a process can do its work, as its socket tells it. The only test of its program: there is one
//! set of checks for each.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod plain;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_grpc::channel;
use berth_lifecycle::{Tasks, check};
use http::StatusCode;
use plain::get;
use tonic::service::Routes;

#[tokio::test]
async fn a_process_says_why_it_cannot_do_its_work_and_answers_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let (tasks, channel) = (Tasks::new(), channel(&path));
    berth_grpc::server::serve(&path, 0o600, Routes::default(), &tasks).unwrap();
    let well = (StatusCode::OK, "ok\n".to_owned());
    assert_eq!(get(&channel, "/readyz").await, well, "nothing is registered");
    let full = Arc::new(AtomicBool::new(true));
    let asked = full.clone();
    check("a store", move || {
        let full = asked.load(Ordering::SeqCst);
        async move { if full { Err("store a cannot be written") } else { Ok(()) } }
    });
    check("b", || async { Err("b is gone") });
    let reasons = "store a cannot be written\nb is gone\n".to_owned();
    assert_eq!(get(&channel, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, reasons));
    assert_eq!(get(&channel, "/healthz").await, well, "it answers");
    full.store(false, Ordering::SeqCst);
    let one = (StatusCode::SERVICE_UNAVAILABLE, "b is gone\n".to_owned());
    assert_eq!(get(&channel, "/readyz").await, one);
    check("b", || async { Ok::<_, String>(()) });
    assert_eq!(get(&channel, "/readyz").await, well);
    drop(channel);
    assert!(tasks.drain(Duration::from_secs(20)).await.is_empty());
}
