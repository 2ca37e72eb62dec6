use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use berth_lifecycle::Tasks;
use tonic::Code;
use tonic::service::Routes;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::*;

/// Counts its calls; one for the service `slow` never ends.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU32>);

type Reply = Result<tonic::Response<HealthCheckResponse>, Status>;

#[tonic::async_trait]
impl Health for Counting {
    async fn check(&self, request: tonic::Request<HealthCheckRequest>) -> Reply {
        self.0.fetch_add(1, Ordering::SeqCst);
        if request.into_inner().service == "slow" {
            std::future::pending::<()>().await;
        }
        Ok(tonic::Response::new(HealthCheckResponse { status: 1 }))
    }

    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Ok(tonic::Response::new(tokio_stream::pending()))
    }
}

/// A server whose connections end at once when it is killed, as those of a process do.
struct Killable(tokio::runtime::Runtime);

impl Killable {
    fn start(path: &Path, counting: &Counting) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let running = runtime.enter();
        serve(path, &Tasks::new(), counting);
        drop(running);
        Self(runtime)
    }

    /// Returns when it is gone, as waiting for a process does.
    async fn kill(self) {
        let gone = move || self.0.shutdown_timeout(Duration::from_secs(10));
        tokio::task::spawn_blocking(gone).await.unwrap();
    }
}

fn serve(path: &Path, tasks: &Tasks, counting: &Counting) {
    let routes = Routes::new(HealthServer::new(counting.clone()));
    crate::server::serve(path, 0o600, routes, tasks).unwrap();
}

async fn check(channel: &Channel, service: &str, deadline: Option<Duration>) -> Result<(), Status> {
    let mut request = tonic::Request::new(HealthCheckRequest { service: service.into() });
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    HealthClient::new(channel.clone()).check(request).await.map(|_| ())
}

#[tokio::test]
async fn a_call_waits_for_a_service_that_starts_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let (channel, counting) = (channel(&path), Counting::default());
    for _ in 0..2 {
        let tasks = Tasks::new();
        let (answer, ()) = tokio::join!(check(&channel, "", None), async {
            tokio::task::yield_now().await;
            serve(&path, &tasks, &counting);
        });
        answer.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(tasks.drain(Duration::from_secs(5)).await.is_empty());
    }
}

/// The process of a service that is killed closes its connections without a word, and the first
/// call afterwards may find the connection still looking alive.
#[tokio::test]
async fn the_first_call_after_a_kill_is_carried_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let (channel, counting) = (channel(&path), Counting::default());
    for _ in 0..50 {
        let server = Killable::start(&path, &counting);
        check(&channel, "", None).await.unwrap();
        server.kill().await;
    }
    assert_eq!(counting.0.load(Ordering::SeqCst), 50);
}

#[tokio::test]
async fn a_call_that_was_sent_is_not_repeated_and_its_end_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let (channel, counting) = (channel(&path), Counting::default());
    let server = Killable::start(&path, &counting);
    let (answer, ()) = tokio::join!(check(&channel, "slow", None), async {
        while counting.0.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        server.kill().await;
    });
    let error = answer.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(broke_off(&error) && error.message().contains("service bundle broke off"), "{error:?}");
    assert_eq!(counting.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_callers_deadline_ends_a_call_and_a_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let (channel, soon) = (channel(&path), Duration::from_millis(50));
    let error = check(&channel, "", Some(soon)).await.unwrap_err();
    assert!(matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded), "{error:?}");
    assert!(error.message().contains("service bundle"), "{error:?}");
    let server = Killable::start(&path, &Counting::default());
    let error = check(&channel, "slow", Some(soon)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    server.kill().await;
}

#[tokio::test]
async fn a_service_that_stays_away_is_unavailable_by_name() {
    let path = Path::new("/no/such/bundle.sock");
    let channel = Channel::waiting(path, Duration::from_millis(50));
    let error = check(&channel, "", None).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(error.message().contains("service bundle does not answer"), "{error:?}");
    assert!(!broke_off(&error));
}

#[tokio::test]
async fn a_living_service_keeps_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let tasks = Tasks::new();
    serve(&path, &tasks, &Counting::default());
    let again = crate::server::serve(&path, 0o600, Routes::default(), &tasks);
    assert!(matches!(again, Err(crate::Error::InUse(_))));
    tasks.drain(Duration::from_secs(5)).await;
}
