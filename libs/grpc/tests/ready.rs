//! Whether a process can do its work, as its socket tells it. The only test of its program: there is one
//! set of checks for each.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod plain;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_grpc::{Channel, channel, health};
use berth_lifecycle::{Tasks, check};
use http::StatusCode;
use plain::get;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The health that is told of a name.
async fn check_of(channel: &Channel, name: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: name.into() };
    Ok(HealthClient::new(channel.clone()).check(request).await?.into_inner().status())
}

#[tokio::test]
async fn a_process_says_why_it_cannot_do_its_work_and_answers_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let (tasks, channel) = (Tasks::new(), channel(&path));
    berth_grpc::server::serve(&path, 0o600, Routes::new(health(tasks.token())), &tasks).unwrap();
    let well = (StatusCode::OK, "ok\n".to_owned());
    assert_eq!(get(&channel, "/readyz").await, well, "nothing is registered");
    assert_eq!(check_of(&channel, "").await.unwrap(), ServingStatus::Serving);
    let unknown = check_of(&channel, "tea").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    let watched = |name: &str| {
        let (mut client, service) = (HealthClient::new(channel.clone()), name.to_owned());
        async move { client.watch(HealthCheckRequest { service }).await.unwrap().into_inner() }
    };
    let (mut own, mut others) = (watched("").await, watched("tea").await);
    let next = async |watched: &mut tonic::Streaming<_>| -> ServingStatus {
        let told: Option<tonic_health::pb::HealthCheckResponse> = watched.message().await.unwrap();
        told.unwrap().status()
    };
    assert_eq!(next(&mut own).await, ServingStatus::Serving);
    assert_eq!(next(&mut others).await, ServingStatus::ServiceUnknown);
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
    assert_eq!(check_of(&channel, "").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(next(&mut own).await, ServingStatus::NotServing);
    full.store(false, Ordering::SeqCst);
    let one = (StatusCode::SERVICE_UNAVAILABLE, "b is gone\n".to_owned());
    assert_eq!(get(&channel, "/readyz").await, one);
    check("b", || async { Ok::<_, String>(()) });
    assert_eq!(get(&channel, "/readyz").await, well);
    assert_eq!(next(&mut own).await, ServingStatus::Serving);
    let asked = async { (own.message().await, others.message().await) };
    let (drained, ends) = tokio::join!(tasks.drain(Duration::from_secs(20)), asked);
    assert!(matches!(ends, (Ok(None), Ok(None))), "{ends:?}");
    assert!(drained.is_empty(), "{drained:?}");
}
