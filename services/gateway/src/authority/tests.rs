//! With h2's own client and server on both sides: what comes through is what was sent, but for the
//! name, whatever else the headers are, and however the bytes are cut.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// One call: its name, its headers.
type Call = (String, Vec<(u8, String)>);

fn request((name, headers): &Call) -> Request<()> {
    let mut request = Request::post(format!("http://{name}/a.b.C/D")).body(()).expect("a request");
    let mut map = HeaderMap::new();
    for (number, value) in headers {
        let key = HeaderName::try_from(format!("x-key-{number}")).expect("a name");
        map.append(key, HeaderValue::from_str(value).expect("a value"));
    }
    *request.headers_mut() = map;
    request
}

fn tame(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Moves what a client sends in pieces of these sizes, again and again; answers as they come.
async fn cut(client: DuplexStream, server: DuplexStream, sizes: Vec<usize>) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let there = async {
        for size in sizes.into_iter().cycle() {
            let mut piece = vec![0; size];
            let count = from_client.read(&mut piece).await.unwrap_or(0);
            if count == 0 || to_server.write_all(&piece[..count]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let back = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! { () = there => {}, _ = back => {} }
}

/// What the server saw of the calls: their names and headers.
async fn seen(calls: Vec<Call>, sizes: Vec<usize>, table: u32) -> Vec<(String, HeaderMap)> {
    let (client, near) = tokio::io::duplex(1 << 16);
    let (far, server) = tokio::io::duplex(1 << 16);
    let serve = async move {
        let builder = h2::server::Builder::new();
        let mut connection =
            builder.handshake::<_, bytes::Bytes>(Names::with(server, |_| false)).await.expect("h2");
        let mut seen = Vec::new();
        while let Some(call) = connection.accept().await {
            let (request, mut answer) = call.expect("nothing is refused");
            let name = request.uri().authority().expect("a name").to_string();
            seen.push((name, request.headers().clone()));
            answer.send_response(http::Response::new(()), true).expect("answered");
        }
        seen
    };
    let ask = async move {
        let mut builder = h2::client::Builder::new();
        builder.header_table_size(table);
        let (sender, connection) =
            builder.handshake::<_, bytes::Bytes>(client).await.expect("a connection");
        let calls = async move {
            let mut sender = sender;
            for call in &calls {
                sender = sender.ready().await.expect("ready");
                let (answer, _) = sender.send_request(request(call), true).expect("sent");
                answer.await.expect("answered");
            }
        };
        tokio::select! {
            ended = connection => panic!("the connection ended: {ended:?}"),
            () = calls => {}
        }
    };
    let both = async { tokio::join!(serve, ask, cut(near, far, sizes)).0 };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("in time")
}

/// A frame of headers whose block is this and a literal that fills it up.
fn filled(block: &[u8], length: u32) -> Vec<u8> {
    let head = [&length.to_be_bytes()[1..], &[HEADERS, 4, 0, 0, 0, 1], block].concat();
    // Its length in the three bytes after the first.
    let rest = HEAD + length as usize - head.len() - 7;
    let (low, mid, high) =
        ((rest - 127) & 0x7f | 0x80, (rest - 127) >> 7 & 0x7f | 0x80, (rest - 127) >> 14);
    let size = [low, mid, high].map(|part| u8::try_from(part).expect("seven bits"));
    [&head[..], &[0, 1, b'x', 0x7f], &size, &vec![b'a'; rest]].concat()
}

async fn through(frame: &[u8]) -> Vec<u8> {
    let sent = [&[b'x'; PREFACE], frame].concat();
    let mut read = Vec::new();
    Names::new(&sent[..]).read_to_end(&mut read).await.expect("no failure");
    read.split_off(PREFACE)
}

#[tokio::test]
async fn names_in_long_frames_are_looked_at_and_no_frame_becomes_too_long() {
    let (plain, fits) = ([&[0x41, 4][..], b"/a.b"].concat(), [&[0x41, 4][..], b"-a-b"].concat());
    for length in [100 << 10, WINDOW.frame] {
        assert!(through(&filled(&plain, length)).await == filled(&fits, length), "{length}");
    }
    // Six slashes, which take five bytes when they are compressed.
    let compressed = [0x41, 0x85, 0x61, 0x86, 0x18, 0x61, 0x8f];
    let shorter = through(&filled(&compressed, WINDOW.frame - 1)).await;
    assert_eq!((shorter.len(), &shorter[HEAD..HEAD + 8]), (LONGEST, &b"\x41\x06------"[..]));
    let longest = filled(&compressed, WINDOW.frame);
    assert!(through(&longest).await == longest);
    let long = [&[0x41, 0x7f, 0x82, 0x07][..], &[b'/'; 1025]].concat();
    let long = filled(&long, 100 << 10);
    assert!(through(&long).await == long);
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    // Some names come back, and long values push others out of the table.
    let name =
        prop_oneof!["[a-z0-9.-]{1,12}", Just("node-1.a.b".to_owned()), "[A-Z_~!$&'*+,;=]{3}"];
    let value = prop_oneof!["[ -~]{0,20}", "[a-z]{900,1100}", Just("again".to_owned())];
    let headers = prop::collection::vec((0..6_u8, value.prop_map(|v| v.trim().to_owned())), 0..5);
    prop::collection::vec((name, headers), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]
    #[test]
    fn all_but_the_name_comes_through(
        calls in calls(),
        sizes in prop::collection::vec(1..400_usize, 1..6),
        table in prop_oneof![Just(0_u32), Just(200), Just(4096)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
        let seen = runtime.block_on(seen(calls.clone(), sizes, table));
        prop_assert_eq!(seen.len(), calls.len());
        for (call, (name, headers)) in calls.iter().zip(seen) {
            prop_assert_eq!(tame(&call.0), name);
            let sent = request(call);
            prop_assert_eq!(sent.headers(), &headers);
        }
    }

    /// Whatever it is: as much comes out as went in, or a little more, and nothing hangs or panics.
    #[test]
    fn any_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..3000), kind in 0..3_u8) {
        let mut sent = vec![b'x'; PREFACE];
        for piece in bytes.chunks(700) {
            let length = u32::try_from(piece.len()).expect("short").to_be_bytes();
            sent.extend([&length[1..], &[kind, 4, 0, 0, 0, 1], piece].concat());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("one");
        let read = runtime.block_on(async {
            let mut read = Vec::new();
            Names::new(&sent[..]).read_to_end(&mut read).await.expect("no failure");
            read
        });
        prop_assert!(read.len() >= sent.len() || kind == HEADERS, "{} {}", read.len(), sent.len());
        if kind != HEADERS {
            prop_assert_eq!(read, sent);
        }
    }
}
