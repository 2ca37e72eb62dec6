//! Peers that do not keep to the protocol.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_ttrpc::{
    Call, Client, HEADER_LENGTH, Handler, Limits, MAX_MESSAGE, Request, Response, Server, Status,
};
use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(10);

struct Big;

impl Handler for Big {
    async fn call(&self, call: Call) -> Result<Bytes, Status> {
        match call.method.as_str() {
            "Big" => Ok(Bytes::from(vec![1; 1 << 20])),
            _ => Ok(call.payload),
        }
    }
}

struct Peer {
    stream: UnixStream,
    _server: JoinSet<()>,
    _dir: tempfile::TempDir,
}

async fn peer(limits: Limits) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let server = Server::new(Arc::new(Big)).with_limits(limits);
        server.serve(listener, std::future::pending(), LONG).await.unwrap();
    });
    let stream = UnixStream::connect(&path).await.unwrap();
    Peer { stream, _server: server, _dir: dir }
}

fn frame(length: u32, stream: u32, kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(stream.to_be_bytes());
    frame.extend([kind, flags]);
    frame.extend(body);
    frame
}

fn request(stream: u32, flags: u8, method: &str) -> Vec<u8> {
    let request = Request { service: "s".into(), method: method.into(), ..Request::default() };
    let body = request.encode_to_vec();
    frame(u32::try_from(body.len()).unwrap(), stream, 1, flags, &body)
}

async fn answer(stream: &mut UnixStream) -> (u32, Response) {
    let mut header = [0; HEADER_LENGTH];
    stream.read_exact(&mut header).await.unwrap();
    let length = u32::from_be_bytes(header[..4].try_into().unwrap());
    let id = u32::from_be_bytes(header[4..8].try_into().unwrap());
    assert_eq!(header[8..], [2, 0]);
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.unwrap();
    (id, Response::decode(&body[..]).unwrap())
}

async fn refused(stream: &mut UnixStream, expected: u32) -> i32 {
    let (id, response) = answer(stream).await;
    assert_eq!(id, expected);
    response.status.unwrap().code
}

#[tokio::test]
async fn the_server_refuses_what_is_wrong_and_goes_on() {
    let mut peer = peer(Limits::default()).await;
    let stream = &mut peer.stream;
    stream.write_all(&request(2, 0, "Echo")).await.unwrap();
    assert_eq!(refused(stream, 2).await, 3);
    stream.write_all(&frame(3, 1, 1, 0, &[0xff, 0xff, 0xff])).await.unwrap();
    assert_eq!(refused(stream, 1).await, 3);
    stream.write_all(&request(1, 0, "Echo")).await.unwrap();
    assert_eq!(refused(stream, 1).await, 3);
    stream.write_all(&frame(0, 9, 3, 0, &[])).await.unwrap();
    assert_eq!(refused(stream, 9).await, 3);
    stream.write_all(&request(11, 0, "Echo")).await.unwrap();
    assert!(answer(stream).await.1.status.is_none());
}

#[tokio::test]
async fn the_server_refuses_streams_and_ignores_their_data() {
    let mut peer = peer(Limits::default()).await;
    let stream = &mut peer.stream;
    stream.write_all(&request(1, 2, "Echo")).await.unwrap();
    stream.write_all(&frame(2, 1, 3, 0, b"ab")).await.unwrap();
    stream.write_all(&frame(0, 1, 3, 5, b"")).await.unwrap();
    assert_eq!(refused(stream, 1).await, 12);
    stream.write_all(&request(3, 0, "Echo")).await.unwrap();
    assert_eq!(answer(stream).await.0, 3);
}

#[tokio::test]
async fn the_server_throws_an_oversized_message_away() {
    let mut peer = peer(Limits::default()).await;
    let stream = &mut peer.stream;
    let length = MAX_MESSAGE + 1;
    let body = vec![0; length];
    stream.write_all(&frame(u32::try_from(length).unwrap(), 1, 1, 0, &body)).await.unwrap();
    assert_eq!(refused(stream, 1).await, 8);
    stream.write_all(&request(3, 0, "Echo")).await.unwrap();
    assert_eq!(answer(stream).await.0, 3);
}

#[tokio::test]
async fn the_server_hangs_up_on_noise() {
    for noise in [frame(u32::MAX, 1, 1, 0, b"x"), frame(0, 1, 77, 0, b""), vec![0; 3]] {
        let mut peer = peer(Limits::default()).await;
        peer.stream.write_all(&noise).await.unwrap();
        peer.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(LONG, peer.stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(rest.is_empty());
    }
}

#[tokio::test]
async fn the_server_gives_up_a_peer_that_does_not_read() {
    let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut peer = peer(limits).await;
    for call in 0..8 {
        peer.stream.write_all(&request(2 * call + 1, 0, "Big")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut rest = Vec::new();
    let end = tokio::time::timeout(LONG, peer.stream.read_to_end(&mut rest)).await.unwrap();
    assert!(end.is_err() || rest.len() < 8 << 20);
}

async fn pair(limits: Limits) -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Client::new(ours, limits), theirs)
}

#[tokio::test]
async fn the_client_gives_up_a_server_that_does_not_read() {
    let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
    let (client, _hung) = pair(limits).await;
    let body = Bytes::from(vec![0; 1 << 20]);
    let error = client.call_raw("s", "m", body, LONG).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(client.is_closed());
}

#[tokio::test]
async fn the_client_closes_on_noise_and_fails_what_waits() {
    for noise in [frame(0, 1, 1, 0, b""), frame(2, 1, 2, 0, &[0xff, 0xff]), vec![9; 64]] {
        let (client, mut server) = pair(Limits::default()).await;
        server.write_all(&noise).await.unwrap();
        let error = client.call_raw("s", "m", Bytes::new(), LONG).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn the_client_ignores_answers_that_nobody_waits_for() {
    let (client, mut server) = pair(Limits::default()).await;
    server.write_all(&frame(0, 77, 2, 0, b"")).await.unwrap();
    let mut calls = JoinSet::new();
    let other = client.clone();
    calls.spawn(async move { other.call_raw("s", "m", Bytes::new(), LONG).await });
    let mut header = [0; HEADER_LENGTH];
    server.read_exact(&mut header).await.unwrap();
    assert_eq!(header[4..], [0, 0, 0, 1, 1, 0]);
    server.write_all(&frame(0, 1, 2, 0, b"")).await.unwrap();
    assert!(calls.join_next().await.unwrap().unwrap().unwrap().is_empty());
}
