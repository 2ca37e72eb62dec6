//! Client and server against each other.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth_errors::{Code, Coded};
use berth_ttrpc::{Call, Client, Error, Handler, KeyValue, Limits, MAX_MESSAGE, Server, Status};
use bytes::Bytes;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Echo {
    running: AtomicUsize,
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Echo {
    async fn call(&self, call: Call) -> Result<Bytes, Status> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.running);
        match call.method.as_str() {
            "Echo" => Ok(call.payload),
            "Header" => Ok(Bytes::from(call.header("k").unwrap_or("none").to_owned())),
            "Timeout" => Ok(Bytes::from(format!("{:?}", call.timeout))),
            "Slow" => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(call.payload)
            }
            "Never" => std::future::pending().await,
            "Large" => Ok(Bytes::from(vec![0; MAX_MESSAGE + 1])),
            "Panic" => panic!("on purpose"),
            "Missing" => Err(Status::new(Code::NotFound, "container \"x\": not found")),
            method => Err(Status::unimplemented(&call.service, method)),
        }
    }
}

struct Served {
    echo: Arc<Echo>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinSet<Result<(), Error>>,
    dir: tempfile::TempDir,
}

impl Served {
    fn start(limits: Limits, drain: Duration) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let echo = Arc::new(Echo::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut server = JoinSet::new();
        let handler = echo.clone();
        server.spawn(async move {
            let server = Server::new(handler).with_limits(limits);
            server.serve(listener, async { drop(stopped.await) }, drain).await
        });
        Served { echo, stop: Some(stop), server, dir }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("s")
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket(), LONG).await.unwrap()
    }
}

async fn raw(client: &Client, method: &str, body: &[u8], within: Duration) -> Result<Bytes, Error> {
    client.call_raw("test.Echo", method, Bytes::copy_from_slice(body), within).await
}

#[tokio::test]
async fn calls_run_at_once_and_answers_find_their_callers() {
    let server = Served::start(Limits::default(), LONG);
    let client = server.client().await;
    let begin = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..100_u32 {
        let client = client.clone();
        calls.spawn(async move {
            let method = if number % 2 == 0 { "Slow" } else { "Echo" };
            let body = number.to_be_bytes();
            assert_eq!(raw(&client, method, &body, LONG).await.unwrap(), body[..]);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn typed_calls_headers_and_timeouts_travel() {
    let server = Served::start(Limits::default(), LONG);
    let client = server.client().await;
    let sent = KeyValue { key: "a".into(), value: "b".into() };
    let got: KeyValue = client.call("test.Echo", "Echo", &sent, LONG).await.unwrap();
    assert_eq!(got, sent);
    let with = client.with_metadata(vec![KeyValue { key: "k".into(), value: "v".into() }]);
    assert_eq!(raw(&with, "Header", b"", LONG).await.unwrap(), "v");
    assert_eq!(raw(&client, "Timeout", b"", LONG).await.unwrap(), "Some(30s)");
}

#[tokio::test]
async fn an_error_keeps_its_code_and_text() {
    let server = Served::start(Limits::default(), LONG);
    let client = server.client().await;
    let error = raw(&client, "Missing", b"", LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(error.to_string(), "container \"x\": not found");
    let error = raw(&client, "Nope", b"", LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    let error = raw(&client, "Panic", b"", LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    raw(&client, "Echo", b"still there", LONG).await.unwrap();
}

#[tokio::test]
async fn messages_beyond_the_limit_are_refused_both_ways() {
    let server = Served::start(Limits::default(), LONG);
    let client = server.client().await;
    let large = vec![7; MAX_MESSAGE - 100];
    assert_eq!(raw(&client, "Echo", &large, LONG).await.unwrap(), large[..]);
    let error = raw(&client, "Echo", &vec![0; MAX_MESSAGE], LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    let error = raw(&client, "Large", b"", LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    raw(&client, "Echo", b"still there", LONG).await.unwrap();
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_sides() {
    let server = Served::start(Limits::default(), LONG);
    let client = server.client().await;
    let error = raw(&client, "Never", b"", Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    raw(&client, "Echo", b"", LONG).await.unwrap();
    wait_idle(&server.echo).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_calls() {
    let server = Served::start(Limits::default(), LONG);
    let client = server.client().await;
    tokio::select! {
        answer = raw(&client, "Never", b"", LONG) => panic!("{answer:?}"),
        () = wait_running(&server.echo, 1) => {}
    }
    drop(client);
    wait_idle(&server.echo).await;
}

async fn wait_idle(echo: &Echo) {
    wait_running(echo, 0).await;
}

/// Waits until so many calls have been taken and not answered.
async fn wait_running(echo: &Echo, calls: usize) {
    let become_so = async {
        while echo.running.load(Ordering::SeqCst) != calls {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, become_so).await;
    waited.unwrap_or_else(|_| panic!("not {calls} calls run: {:?}", echo.running));
}

#[tokio::test]
async fn stopping_lets_running_calls_finish_and_closes() {
    let mut server = Served::start(Limits::default(), LONG);
    let client = server.client().await;
    let other = client.clone();
    let mut calls = JoinSet::new();
    calls.spawn(async move { raw(&other, "Slow", b"x", LONG).await });
    wait_running(&server.echo, 1).await;
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(calls.join_next().await.unwrap().unwrap().unwrap(), "x");
    server.server.join_next().await.unwrap().unwrap().unwrap();
    client.closed().await;
    let error = raw(&client, "Echo", b"", LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
}

#[tokio::test]
async fn draining_is_bounded_and_pending_calls_fail_unavailable() {
    let mut server = Served::start(Limits::default(), Duration::from_millis(100));
    let client = server.client().await;
    let other = client.clone();
    let mut calls = JoinSet::new();
    calls.spawn(async move { raw(&other, "Never", b"", LONG).await });
    wait_running(&server.echo, 1).await;
    server.stop.take().unwrap().send(()).unwrap();
    server.server.join_next().await.unwrap().unwrap().unwrap();
    let error = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(server.echo.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn more_calls_than_allowed_are_refused() {
    let server = Served::start(Limits { calls: 2, ..Limits::default() }, LONG);
    let client = server.client().await;
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let client = client.clone();
        calls.spawn(async move { drop(raw(&client, "Never", b"", LONG).await) });
    }
    wait_running(&server.echo, 2).await;
    let error = raw(&client, "Echo", b"", LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn connecting_to_nothing_is_unavailable() {
    let error = Client::connect(Path::new("/nonexistent/s"), LONG).await.err().unwrap();
    assert_eq!(error.code(), Code::Unavailable);
}
