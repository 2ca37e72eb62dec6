//! WebSocket's older protocols, and what kubectl does not do: base64, channels of ports, faults.

use std::net::SocketAddr;

use berth_streaming::{Asked, Limits, Request};
use futures::{SinkExt, StreamExt};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::api::{Api, words};
use crate::wanted::soon;

async fn connect(
    address: SocketAddr,
    path: &str,
    protocol: &str,
) -> Result<WebSocketStream<TcpStream>, Box<Error>> {
    let io = TcpStream::connect(address).await.unwrap();
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if !protocol.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    match soon("a handshake", tokio_tungstenite::client_async(request, io)).await {
        Ok((client, _)) => Ok(client),
        Err(failure) => Err(Box::new(failure)),
    }
}

/// All that comes to the end: each channel's bytes, how it was closed.
async fn rest(client: &mut WebSocketStream<TcpStream>) -> (Vec<Vec<u8>>, Option<CloseCode>) {
    let (mut channels, mut code) = (vec![Vec::new(); 5], None);
    while let Some(Ok(message)) = soon("a message", client.next()).await {
        match message {
            Message::Close(close) => code = close.map(|close| close.code),
            Message::Binary(bytes) => {
                channels[usize::from(bytes[0])].extend_from_slice(&bytes[1..])
            }
            other => panic!("{other:?}"),
        }
    }
    (channels, code)
}

const SUCCESS: &[u8] = b"{\"status\":\"Success\"}";

#[rstest]
#[case("v4.channel.k8s.io", SUCCESS)]
#[case("channel.k8s.io", b"")]
#[case("", b"")]
#[tokio::test(flavor = "multi_thread")]
async fn channels_of_a_command(#[case] protocol: &str, #[case] status: &[u8]) {
    let api = Api::start(Limits::default()).await;
    let path = api.exec(&["sh", "-c", "read line; echo got $line; echo oops >&2"]);
    let mut client = connect(api.streaming, &path, protocol).await.unwrap();
    let first = soon("the first message", client.next()).await.unwrap().unwrap();
    assert_eq!(first, Message::binary(vec![1]), "an empty message on stdout");
    client.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    // Empty ones, channels that are not, and a split line.
    for message in [&b""[..], b"\x09what", b"\x00so", b"\x00", b"\x00me\n"] {
        client.send(Message::binary(message.to_vec())).await.unwrap();
    }
    let (channels, code) = rest(&mut client).await;
    assert_eq!(channels, [&b""[..], b"got some\n", b"oops\n", status, b""]);
    assert_eq!(code, Some(CloseCode::Normal));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn base64_is_text() {
    let api = Api::start(Limits::default()).await;
    let path = api.exec(&["head", "-c", "3"]);
    let mut client = connect(api.streaming, &path, "v4.base64.channel.k8s.io").await.unwrap();
    client.send(Message::text("0AAH/")).await.unwrap();
    let mut got = Vec::new();
    while let Some(Ok(Message::Text(text))) = soon("a message", client.next()).await {
        got.push(text.to_string());
    }
    assert_eq!(got, ["1", "1AAH/", "3eyJzdGF0dXMiOiJTdWNjZXNzIn0="]);

    let path = api.exec(&["cat"]);
    let mut client = connect(api.streaming, &path, "base64.channel.k8s.io").await.unwrap();
    client.send(Message::text("0not base64!")).await.unwrap();
    let mut last = None;
    while let Some(Ok(message)) = soon("a message", client.next()).await {
        last = Some(message);
    }
    assert!(matches!(last, Some(Message::Close(Some(close))) if close.code == CloseCode::Protocol));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_five_closes_channels() {
    let api = Api::start(Limits::default()).await;
    let protocol = "v5.channel.k8s.io, v4.channel.k8s.io";
    let path = api.exec(&["sh", "-c", "cat; echo; stat -c %s /"]);
    let mut client = connect(api.streaming, &path, protocol).await.unwrap();
    for message in [&b"\x00all"[..], b"\xff\x00", b"\x00late"] {
        client.send(Message::binary(message.to_vec())).await.unwrap();
    }
    let (channels, _) = rest(&mut client).await;
    assert!(channels[1].starts_with(b"all\n"), "{channels:?}");
    assert_eq!(channels[3], SUCCESS);

    for wrong in [&b"\xff"[..], b"\xff\x00\x00"] {
        let mut client = connect(api.streaming, &api.exec(&["cat"]), protocol).await.unwrap();
        client.send(Message::binary(wrong.to_vec())).await.unwrap();
        assert_eq!(rest(&mut client).await.1, Some(CloseCode::Protocol));
    }
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_garbage_ends_the_connection() {
    let api = Api::start(Limits { message: 1 << 20, ..Limits::default() }).await;
    let mut client =
        connect(api.streaming, &api.exec(&["cat"]), "v4.channel.k8s.io").await.unwrap();
    let _ = client.send(Message::binary(vec![0; (1 << 20) + 1])).await;
    let (_, code) = rest(&mut client).await;
    assert!(matches!(code, Some(CloseCode::Size) | None), "{code:?}");

    let client = connect(api.streaming, &api.exec(&["cat"]), "v4.channel.k8s.io").await.unwrap();
    let mut raw = client.into_inner();
    raw.write_all(&[0xff; 64]).await.unwrap();
    let mut left = Vec::new();
    let _ = soon("garbage ends it", raw.read_to_end(&mut left)).await;

    let refused = connect(api.streaming, &api.exec(&["cat"]), "chat").await.unwrap_err();
    assert!(matches!(*refused, Error::Http(answer) if answer.status() == 403));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_have_two_channels_each_over_ipv6() {
    let api = Api::start_on("[::1]:0", Limits::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = listener.local_addr().unwrap().port();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ports = vec![there, nobody];
    let ticket =
        api.server.issue(Request::PortForward { what: (), pod: "pod".into(), ports }).unwrap();
    assert!(ticket.url("http", api.streaming).starts_with("http://[::1]:"));
    let mut client = connect(api.streaming, &ticket.path(), "v4.channel.k8s.io").await.unwrap();
    let (mut served, _) = soon("a connection", listener.accept()).await.unwrap();
    client.send(Message::binary(b"\x00hello".to_vec())).await.unwrap();
    let mut got = [0; 5];
    served.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
    served.write_all(b"there").await.unwrap();
    let mut channels = vec![Vec::new(); 4];
    let text = format!("error forwarding port {nobody} to pod pod, uid : failed to connect");
    let complete =
        |channels: &[Vec<u8>]| channels[0].len() == 7 && channels[3].len() > 2 + text.len();
    while !complete(&channels) {
        let message = soon("a message", client.next()).await.unwrap().unwrap().into_data();
        channels[usize::from(message[0])].extend_from_slice(&message[1..]);
    }
    assert_eq!(channels[0], [&there.to_le_bytes()[..], b"there"].concat());
    assert_eq!(channels[1], there.to_le_bytes());
    assert_eq!(channels[2], nobody.to_le_bytes());
    assert!(channels[3].starts_with(&[&nobody.to_le_bytes()[..], text.as_bytes()].concat()));
    drop(client);
    let ended = soon("the connection ends with its client", served.read(&mut got)).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_arrive_and_the_last_one_counts() {
    let api = Api::start(Limits::default()).await;
    let asked = Asked { stdin: true, stdout: true, stderr: false, tty: true };
    let script = r#"while [ "$(stty size)" != "25 81" ]; do sleep 0.02; done; echo so it is"#;
    let request = Request::Exec { what: (), command: words(&["sh", "-c", script]), asked };
    let mut client =
        connect(api.streaming, &api.issue(request), "v4.channel.k8s.io").await.unwrap();
    for _ in 0..1000 {
        client.send(Message::binary(b"\x04{\"Width\":3,\"Height\":3}\n".to_vec())).await.unwrap();
    }
    client.send(Message::binary(b"\x04{\"Width\":81,\"Height\":25}\n".to_vec())).await.unwrap();
    let (channels, _) = rest(&mut client).await;
    assert_eq!(channels[1], b"so it is\r\n");
    assert_eq!(channels[3], SUCCESS);
    api.stop().await;
}
