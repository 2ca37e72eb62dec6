//! What is left when clients have gone: no task, no descriptor, no memory.

use std::time::Duration;

use berth_streaming::{Limits, Request};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::api::Api;
use crate::spdy::Client;
use crate::wanted::{PATIENCE, until};

const V4: &str = "v4.channel.k8s.io";

/// How many tasks serve connections.
fn tasks(api: &Api) -> usize {
    api.tasks.describe().lines().filter(|line| line.starts_with("stream:")).count()
}

/// How many connections the server holds a descriptor of, as the kernel lists them: established, or given
/// up by the client alone.
fn held(api: &Api) -> usize {
    let port = format!(":{:04X}", api.streaming.port());
    let table = fs_err::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&port) && matches!(row[3], "01" | "08")).count()
}

fn memory() -> usize {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_dropped_connections_leave_nothing() {
    let api = Api::start(Limits { tokens: 2000, ..Limits::default() }).await;
    for round in 0..10 {
        for i in 0..100 {
            let request = Request::PortForward { what: (), pod: "pod".into(), ports: Vec::new() };
            let path = api.issue(request);
            match (round + i) % 4 {
                0 => drop(TcpStream::connect(api.streaming).await.unwrap()),
                1 => {
                    let mut io = TcpStream::connect(api.streaming).await.unwrap();
                    io.write_all(format!("GET {path} HTT").as_bytes()).await.unwrap();
                }
                2 => drop(Client::new(api.streaming, &path, "portforward.k8s.io").await),
                _ => {
                    let mut client = Client::new(api.streaming, &path, "portforward.k8s.io").await;
                    let headers = [("streamtype", "data"), ("port", "80")];
                    client.open(1, &headers).await.unwrap();
                }
            }
        }
    }
    let client = Client::new(api.streaming, &api.exec(&["cat"]), V4).await;
    assert_eq!(held(&api).min(1), 1, "one that is open is seen");
    drop(client);
    until("all connections' tasks have ended", || tasks(&api) == 0).await;
    until("and their descriptors are closed", || held(&api) == 0).await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_leaves_a_command_that_ends() {
    let api = Api::start(Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    // Its input ends, so it goes on, says something to nobody, and ends.
    let script = format!("cat > /dev/null; seq 100000; touch {}", done.display());
    let mut client = Client::new(api.streaming, &api.exec(&["sh", "-c", &script]), V4).await;
    client.command().await;
    client.data(3, false, b"some").await.unwrap();
    drop(client);
    until("the command went on", || done.exists()).await;
    until("and its connection's task ended", || tasks(&api) == 0).await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_and_readers_that_are_none_cost_a_bounded_amount() {
    let api = Api::start(Limits::default()).await;
    let mut slow = Vec::new();
    let before = memory();
    for _ in 0..20 {
        let mut reads_not = Client::new(api.streaming, &api.exec(&["cat", "/dev/zero"]), V4).await;
        reads_not.command().await;
        slow.push(reads_not);
        let mut sends = Client::new(api.streaming, &api.exec(&["sleep", "60"]), V4).await;
        sends.command().await;
        // As much as is taken: queues, pipes and sockets, and then no more.
        let chunk = vec![0; 1 << 20];
        let mut sent = 0;
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(200), sends.data(3, false, &chunk)).await
        {
            written.unwrap();
            sent += 1;
            assert!(sent < 64, "{sent} MiB were taken for a command that reads nothing");
        }
        slow.push(sends);
    }
    let grown = memory().saturating_sub(before);
    // Some 30 MiB; other tests run beside. Without bounds it is gigabytes.
    assert!(grown < 128 << 10, "40 connections that nobody reads took {grown} KiB");
    drop(slow);
    let ended = tokio::time::timeout(PATIENCE, api.stop()).await;
    assert!(ended.is_ok(), "what nobody reads holds up no end");
}
