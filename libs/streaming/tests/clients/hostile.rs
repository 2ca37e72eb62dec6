//! Clients that mean harm, or know no better.

use std::time::Duration;

use berth_streaming::{Asked, Limits, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::{Api, words};
use crate::spdy::{Client, Frame, GOAWAY, PING, RST_STREAM, SYN_REPLY, SYN_STREAM, ask, word};
use crate::wanted::soon;

const V4: &str = "v4.channel.k8s.io";
const PORTS: &str = "portforward.k8s.io";

fn forward() -> Request<()> {
    Request::PortForward { what: (), pod: "pod".into(), ports: Vec::new() }
}

/// That the client was told of its fault, or cut off, and that the server serves others.
async fn is_refused(mut client: Client, api: &Api) {
    let frames = client.rest().await;
    match frames.last() {
        Some(Frame::Control(GOAWAY, body)) => assert_eq!(word(&body[4..]), 1, "a protocol error"),
        other => assert_eq!(other, None),
    }
    let mut next = Client::new(api.streaming, &api.exec(&["true"]), V4).await;
    next.command().await;
    assert!(next.rest().await.contains(&Frame::Data(
        1,
        false,
        b"{\"status\":\"Success\"}".to_vec()
    )));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_good_once_and_for_their_kind() {
    let api = Api::start(Limits::default()).await;
    let path = api.exec(&["true"]);
    let tried = async |path: &str| {
        let mut io = TcpStream::connect(api.streaming).await.unwrap();
        ask(&mut io, path, V4).await.lines().next().unwrap().to_owned()
    };
    assert_eq!(tried(&path).await, "HTTP/1.1 101 Switching Protocols");
    for path in [
        path.as_str(),
        &api.exec(&["true"]).replace("exec", "attach"),
        "/exec/",
        "/exec/guess/more",
        "/exec",
        "/",
        "/metrics",
    ] {
        assert_eq!(tried(path).await, "HTTP/1.1 404 Not Found", "{path}");
    }
    let life = Duration::from_millis(100);
    let short = Api::start(Limits { token_life: life, ..Limits::default() }).await;
    let late = short.exec(&["true"]);
    tokio::time::sleep(life).await;
    let mut io = TcpStream::connect(short.streaming).await.unwrap();
    let answer = ask(&mut io, &late, V4).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "an expired one: {answer}");
    short.stop().await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_what_is_too_large_end_the_connection() {
    let api = Api::start(Limits::default()).await;
    let client = async || Client::new(api.streaming, &api.exec(&["cat"]), V4).await;

    let mut garbage = client().await;
    garbage.io.write_all(&[0xff; 100]).await.unwrap();
    is_refused(garbage, &api).await;

    let mut large = client().await;
    large.control(PING, 0, &[0; 20_000]).await.unwrap();
    is_refused(large, &api).await;

    let mut bomb = client().await;
    bomb.open_with(1, &vec![0; 10 << 20]).await.unwrap();
    is_refused(bomb, &api).await;

    let mut unpackable = client().await;
    unpackable.control(SYN_STREAM, 0, &[[0, 0, 0, 1].as_slice(), &[9; 60]].concat()).await.unwrap();
    is_refused(unpackable, &api).await;

    let mut many_headers = client().await;
    many_headers.open(1, &[("a", "b"); 65]).await.unwrap();
    is_refused(many_headers, &api).await;

    let mut even = client().await;
    even.open(2, &[("streamtype", "error")]).await.unwrap();
    is_refused(even, &api).await;

    let mut twice = client().await;
    twice.open(1, &[("streamtype", "error")]).await.unwrap();
    twice.open(1, &[("streamtype", "stdin")]).await.unwrap();
    is_refused(twice, &api).await;

    let mut head = TcpStream::connect(api.streaming).await.unwrap();
    let line = format!("GET /exec/{} HTTP/1.1\r\n", "x".repeat(100_000));
    // The answer may come before all is written.
    let _ = head.write_all(line.as_bytes()).await;
    let mut answer = String::new();
    let _ = soon("a refusal", head.read_to_string(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_streams_and_resets_are_bounded() {
    let api = Api::start(Limits { streams: 100, ..Limits::default() }).await;
    let mut client = Client::new(api.streaming, &api.issue(forward()), PORTS).await;
    let mut given_up = std::collections::BTreeSet::new();
    for i in 0..3000u32 {
        let request = format!("r{i}");
        let headers = [("port", "1"), ("streamtype", "error"), ("requestid", &request)];
        client.open(2 * i + 1, &headers).await.unwrap();
    }
    client.control(PING, 0, &[0, 0, 0, 7]).await.unwrap();
    // As long as there are answers: 50 halves may wait, all others are refused or given up.
    while given_up.len() < 2950 {
        match client.next().await {
            Some(Frame::Control(SYN_REPLY | PING, _)) => {}
            Some(Frame::Control(RST_STREAM, body)) => {
                assert!(matches!(word(&body[4..]), 3 | 5), "{body:?}");
                assert!(given_up.insert(word(&body)), "twice: {body:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(given_up.first(), Some(&101), "the first 50 wait for their other halves");
    drop(client);

    // Opened and reset at once, again and again: each is answered, nothing is kept.
    let mut client = Client::new(api.streaming, &api.issue(forward()), PORTS).await;
    for i in 0..5000u32 {
        let stream = (2 * i + 1).to_be_bytes();
        let request = format!("r{i}");
        let headers = [("port", "1"), ("streamtype", "error"), ("requestid", &request)];
        client.open(2 * i + 1, &headers).await.unwrap();
        client.control(RST_STREAM, 0, &[stream, [0, 0, 0, 5]].concat()).await.unwrap();
    }
    client.control(PING, 0, &[0, 0, 0, 7]).await.unwrap();
    let mut frames = 0;
    while client.next().await.expect("the pong") != Frame::Control(PING, vec![0, 0, 0, 7]) {
        frames += 1;
    }
    assert!((5000..=10_000).contains(&frames), "{frames} answers");
    drop(client);

    // A command takes its own five, and some that it does not know.
    let mut client = Client::new(api.streaming, &api.exec(&["sleep", "60"]), V4).await;
    client.command().await;
    for stream in (9..60).step_by(2) {
        client.open(stream, &[("streamtype", "error")]).await.unwrap();
        assert!(matches!(client.next().await, Some(Frame::Control(RST_STREAM, _))));
    }
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_make_no_sense_are_refused_alone() {
    let api = Api::start(Limits::default()).await;
    let mut client = Client::new(api.streaming, &api.issue(forward()), PORTS).await;
    let bad: [&[(&str, &str)]; 6] = [
        &[],
        &[("port", "80")],
        &[("streamtype", "data")],
        &[("streamtype", "data"), ("port", "0")],
        &[("streamtype", "data"), ("port", "65536")],
        &[("streamtype", "stdin"), ("port", "80")],
    ];
    for (stream, headers) in (1..).step_by(2).zip(bad) {
        client.open(stream, headers).await.unwrap();
        match client.next().await {
            Some(Frame::Control(RST_STREAM, body)) => {
                assert_eq!(word(&body[4..]), 1, "{headers:?}")
            }
            other => panic!("{headers:?}: {other:?}"),
        }
    }
    let error = [("streamtype", "error"), ("port", "80"), ("requestid", "7")];
    client.open(13, &error).await.unwrap();
    client.open(15, &error).await.unwrap();
    client.control(GOAWAY, 0, &[0; 8]).await.unwrap();
    client.open(17, &error).await.unwrap();
    let text = b"error processing stream for request 7: error stream already assigned";
    let mut frames = Vec::new();
    while frames.len() < 5 {
        frames.push(client.next().await.expect("a frame"));
    }
    assert!(frames.contains(&Frame::Data(15, false, text.to_vec())), "{frames:?}");
    assert!(frames.contains(&Frame::Data(15, true, Vec::new())), "{frames:?}");
    assert!(
        frames.contains(&Frame::Control(RST_STREAM, vec![0, 0, 0, 17, 0, 0, 0, 3])),
        "{frames:?}"
    );
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_have_an_end() {
    let short = Duration::from_millis(200);
    let api = Api::start(Limits { head: short, ..Limits::default() }).await;
    let mut silent = TcpStream::connect(api.streaming).await.unwrap();
    let mut nothing = Vec::new();
    let _ = soon("a client without a request is dropped", silent.read_to_end(&mut nothing)).await;

    api.stop().await;

    let api = Api::start(Limits { creation: short, ..Limits::default() }).await;
    let mut half = Client::new(api.streaming, &api.exec(&["cat"]), V4).await;
    half.open(1, &[("streamtype", "error")]).await.unwrap();
    let frames = half.rest().await;
    assert!(matches!(frames[0], Frame::Control(SYN_REPLY, _)), "{frames:?}");
    assert!(matches!(frames.last(), Some(Frame::Control(GOAWAY, _))), "{frames:?}");

    let mut pair = Client::new(api.streaming, &api.issue(forward()), PORTS).await;
    pair.open(1, &[("streamtype", "error"), ("port", "80"), ("requestid", "7")]).await.unwrap();
    pair.next().await.expect("the reply");
    let text = b"request 7: timed out waiting for streams".to_vec();
    assert_eq!(pair.next().await, Some(Frame::Data(1, false, text)));

    api.stop().await;

    let api = Api::start(Limits { idle: Duration::from_secs(1), ..Limits::default() }).await;
    let mut idle = Client::new(api.streaming, &api.exec(&["sleep", "60"]), V4).await;
    idle.command().await;
    assert_eq!(soon("silence ends a connection", idle.rest()).await, Vec::new());
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_hold_for_clients_that_keep_them() {
    let api = Api::start(Limits::default()).await;
    let script = ["sh", "-c", "read x; head -c 1000000 /dev/zero"];
    let mut client = Client::new(api.streaming, &api.exec(&script), V4).await;
    client.command().await;
    // Speaks of windows, of another stream, before there is output.
    client.control(crate::spdy::WINDOW_UPDATE, 0, &[0, 0, 0, 7, 0, 0, 0, 1]).await.unwrap();
    client.data(3, false, b"go\n").await.unwrap();
    let (mut got, mut allowed) = (0, 65536);
    while got < 1_000_000 {
        match client.next().await {
            Some(Frame::Data(5, false, bytes)) => got += bytes.len(),
            Some(Frame::Data(3 | 7, true, _)) => continue,
            other => panic!("{:?} after {got} bytes", other),
        }
        assert!(got <= allowed, "{got} bytes where {allowed} were allowed");
        if got == allowed {
            // Nothing more until there is room: a ping's answer is all that comes.
            client.control(PING, 0, &[0, 0, 0, 1]).await.unwrap();
            let mut next = client.next().await;
            // The command may have ended, with its last output still to come.
            while matches!(next, Some(Frame::Data(3 | 7, true, _))) {
                next = client.next().await;
            }
            let pong = Frame::Control(PING, vec![0, 0, 0, 1]);
            assert!(next == Some(pong), "output beyond the window");
            let widen = [[0, 0, 0, 5], 65536u32.to_be_bytes()].concat();
            client.control(crate::spdy::WINDOW_UPDATE, 0, &widen).await.unwrap();
            allowed += 65536;
        }
    }
    assert!(client.rest().await.contains(&Frame::Data(
        1,
        false,
        b"{\"status\":\"Success\"}".to_vec()
    )));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_protocols_have_a_text() {
    let api = Api::start(Limits::default()).await;
    for protocol in ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"] {
        let asked = Asked { stdout: true, ..Asked::default() };
        let request = Request::Exec { what: (), command: words(&["false"]), asked };
        let mut client = Client::new(api.streaming, &api.issue(request), protocol).await;
        for (stream, name) in [(1, "error"), (3, "stdout")] {
            client.open(stream, &[("streamtype", name)]).await.unwrap();
        }
        let text = b"command terminated with non-zero exit code: error executing command [false], exit code 1";
        let frames = client.rest().await;
        assert!(frames.contains(&Frame::Data(1, false, text.to_vec())), "{frames:?}");
    }
    api.stop().await;
}
