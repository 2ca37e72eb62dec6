//! Calls of one service to another: waits, deadlines, and ends in their midst.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::disallowed_methods, reason = "a test makes a process that dies")]

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_grpc::{Channel, Settings, broke_off, channel};
use berth_lifecycle::Tasks;
use berth_testkit::Killable;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// The longest that anything here may take.
const LONG: Duration = Duration::from_secs(30);

/// Counts its calls; one for the service `slow` never ends, and one for `expired` ends as tonic's
/// server ends those whose deadline it sees pass.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU32>);

type Reply = Result<tonic::Response<HealthCheckResponse>, Status>;

#[tonic::async_trait]
impl Health for Counting {
    async fn check(&self, request: tonic::Request<HealthCheckRequest>) -> Reply {
        self.0.fetch_add(1, Ordering::SeqCst);
        match &*request.into_inner().service {
            "slow" => std::future::pending::<()>().await,
            "expired" => return Err(Status::cancelled("Timeout expired")),
            _ => {}
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

fn killable(path: &Path, counting: &Counting) -> Killable {
    Killable::start(path, || serve(path, &Tasks::new(), counting))
}

fn serve(path: &Path, tasks: &Tasks, counting: &Counting) {
    let routes = Routes::new(HealthServer::new(counting.clone()));
    berth_grpc::server::serve(path, 0o600, routes, tasks).unwrap();
}

/// Answers a call with a head, and resets its stream once `told`.
async fn reset(listener: UnixListener, told: Arc<Notify>, tasks: Tasks) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(call) = connection.accept().await {
        let (_, mut respond) = call.unwrap();
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
        let told = told.clone();
        tasks.spawn("reset", async move {
            told.notified().await;
            body.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
        });
    }
}

async fn watch(channel: &Channel, deadline: Duration) -> tonic::Streaming<HealthCheckResponse> {
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.set_timeout(deadline);
    HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner()
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
        assert!(tasks.drain(LONG).await.is_empty());
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
        let server = killable(&path, &counting);
        check(&channel, "", None).await.unwrap();
        server.kill();
    }
    assert_eq!(counting.0.load(Ordering::SeqCst), 50);
}

#[tokio::test]
async fn a_call_that_was_sent_is_not_repeated_and_its_end_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let (channel, counting) = (channel(&path), Counting::default());
    let server = killable(&path, &counting);
    let (answer, ()) = tokio::join!(check(&channel, "slow", None), async {
        while counting.0.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        server.kill();
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
    let server = killable(&path, &Counting::default());
    channel.connect(LONG).await.unwrap();
    let error = check(&channel, "slow", Some(soon)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    server.kill();
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream_in_its_midst() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let server = killable(&path, &Counting::default());
    // Longer than the head of the answer may take.
    let mut stream = watch(&channel(&path), Duration::from_secs(5)).await;
    let error = stream.message().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    assert!(error.message().contains("service bundle did not end /grpc.health"), "{error:?}");
    server.kill();
}

#[tokio::test]
async fn a_service_that_dies_ends_a_stream_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let server = killable(&path, &Counting::default());
    let mut stream = watch(&channel(&path), Duration::from_secs(60)).await;
    server.kill();
    let error = stream.message().await.unwrap_err();
    assert!(broke_off(&error) && error.message().contains("service bundle broke off"), "{error:?}");
}

/// The service is there and has a reason, which HTTP/2 tells: it is not said to have broken off.
#[tokio::test]
async fn a_stream_that_the_service_resets_ends_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let (tasks, told) = (Tasks::new(), Arc::new(Notify::new()));
    let listener = berth_grpc::server::bind(&path, 0o600).unwrap();
    tasks.spawn("service", reset(listener, told.clone(), tasks.clone()));
    let mut stream = watch(&channel(&path), Duration::from_secs(60)).await;
    told.notify_one();
    let error = stream.message().await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    assert!(!broke_off(&error));
}

/// Takes a call and then looks at nothing more. Ends when the other side has closed the connection.
async fn hang(listener: UnixListener) {
    let stream = listener.accept().await.unwrap().0.into_std().unwrap();
    let again = stream.try_clone().unwrap();
    let mut connection =
        h2::server::handshake(UnixStream::from_std(stream).unwrap()).await.unwrap();
    let _call = connection.accept().await.unwrap().unwrap();
    let mut rest = UnixStream::from_std(again).unwrap();
    rest.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up_and_a_slow_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let patient = |silence| Channel::new(&path, Settings { silence, ..Settings::of(&path) });
    let channel = patient(Duration::from_millis(20));
    let hanging = hang(UnixListener::bind(&path).unwrap());
    // A call has no deadline of its own to end it. Nothing of the connection is left, also while the
    // channel is there.
    let (error, ()) = tokio::join!(check(&channel, "", None), hanging);
    assert!(broke_off(&error.unwrap_err()));
    let server = killable(&path, &Counting::default());
    // It is asked whether it is there, and answers in time, before the call is given up.
    let channel = patient(Duration::from_secs(4));
    let error = check(&channel, "slow", Some(Duration::from_secs(9))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    server.kill();
}

/// Its socket is there, but nobody reads what comes: nothing is sent there.
#[tokio::test]
async fn a_service_that_never_says_a_word_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let soon = Settings { wait: Duration::from_millis(50), ..Settings::of(&path) };
    let hanging = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let channel = Channel::new(&path, soon);
    let error = check(&channel, "", None).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(!broke_off(&error), "{error:?}");
    let (mut stream, _) = hanging.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// Whoever of the two sees it first.
#[tokio::test]
async fn a_deadline_that_passes_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let (channel, tasks) = (channel(&path), Tasks::new());
    serve(&path, &tasks, &Counting::default());
    let error = check(&channel, "expired", Some(Duration::from_secs(30))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    let error = check(&channel, "expired", None).await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled, "nobody waited: {error:?}");
    assert!(tasks.drain(LONG).await.is_empty());
}

#[tokio::test]
async fn a_service_that_stays_away_is_unavailable_by_name() {
    let path = Path::new("/no/such/bundle.sock");
    let soon = Settings { wait: Duration::from_millis(50), ..Settings::of(path) };
    let error = check(&Channel::new(path, soon), "", None).await.unwrap_err();
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
    let again = berth_grpc::server::serve(&path, 0o600, Routes::default(), &tasks);
    let own = i32::try_from(std::process::id()).unwrap();
    assert!(matches!(again, Err(berth_grpc::Error::InUse { pid, .. }) if pid == own));
    tasks.drain(LONG).await;
}

const ORPHAN: &str = "BERTH_GRPC_TEST_ORPHAN";

/// Not a test: a process that listens and ends, while a child of it has the socket.
#[test]
#[allow(clippy::zombie_processes, reason = "it outlives this process")]
fn orphan() {
    let Ok(path) = std::env::var(ORPHAN) else { return };
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    let mut holder = std::process::Command::new("sleep");
    let holder = holder.arg("60").stdin(std::os::fd::OwnedFd::from(listener));
    // It has nothing else of ours, or who waits for our output waits for it.
    let holder = holder.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let holder = holder.spawn().unwrap();
    println!("\nholds {}", holder.id());
}

#[tokio::test]
async fn a_socket_that_outlives_its_process_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.sock");
    let told = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["orphan", "--exact", "--nocapture"])
        .env(ORPHAN, &path)
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let holder = told.lines().find_map(|line| line.strip_prefix("holds ")).unwrap();
    let holder = rustix::process::Pid::from_raw(holder.parse().unwrap()).unwrap();
    std::os::unix::net::UnixStream::connect(&path).unwrap();

    let soon = Settings { wait: Duration::from_millis(50), ..Settings::of(&path) };
    let channel = Channel::new(&path, soon);
    let error = check(&channel, "", None).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(!broke_off(&error), "{error:?}");

    let (tasks, began) = (Tasks::new(), std::time::Instant::now());
    serve(&path, &tasks, &Counting::default());
    assert!(began.elapsed() < Duration::from_secs(5), "it was waited for");
    check(&berth_grpc::channel(&path), "", None).await.unwrap();
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).unwrap();
    tasks.drain(LONG).await;
}
