//! Frames that are none, or are too large, at the node's own address of streams and with tokens that are good.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use berth_testkit::until;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::takes::Takes;
use crate::spdy::{Client as Spdy, Frame, GOAWAY, PING, SYN_STREAM, word};
use crate::stage::{SOON, Stage, on_a_node, shell};
use crate::streams::Client;

const V4: &str = "v4.channel.k8s.io";
/// The largest message of WebSocket that is taken, in bytes.
const MESSAGE: usize = 32 << 20;
/// The most memory that the service may ever have had more, in KiB: some messages of the largest size.
const MEMORY: u64 = 256 << 10;

/// An address in parts.
fn parts(url: &str) -> Result<(SocketAddr, String)> {
    let rest = url.strip_prefix("http://").context("an address without TLS")?;
    let (host, path) = rest.split_once('/').context("a path")?;
    Ok((host.parse()?, format!("/{path}")))
}

/// A container that waits, and what there was before anything was done to it.
struct Scene<'a> {
    stage: &'a Stage,
    id: String,
    pod: String,
}

impl<'a> Scene<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        let (_, pod_config, pod) = stage.pod_with_logs("frames")?;
        stage.pull()?;
        let id = stage.create(&pod, &shell("on", &stage.image, "sleep 100000"), &pod_config)?;
        stage.start(&id)?;
        Ok(Self { stage, id, pod })
    }

    /// A client of SPDY of a command that reads its input; with the command's streams, or before there are any.
    async fn spdy(&self, is_begun: bool, url: &str) -> Result<Spdy> {
        let (address, path) = parts(url)?;
        let mut client = Spdy::new(address, &path, V4).await;
        if is_begun {
            client.command().await;
        }
        Ok(client)
    }

    fn url(&self) -> Result<String> {
        Ok(self.stage.exec_url(&self.id, &["cat"], false)?)
    }

    /// The next client is served, and no command but the container's own is left.
    fn goes_on(&self, what: &str) -> Result<()> {
        let told = self.stage.exec(&self.id, &["echo", "here"], 60)?;
        assert_eq!(told.stdout, b"here\n", "after {what}");
        until(&format!("after {what} nothing runs on"), SOON, || {
            let listed = self.stage.exec(&self.id, &["ps", "-o", "comm"], 60);
            listed.is_ok_and(|listed| !String::from_utf8_lossy(&listed.stdout).contains("cat"))
        })
    }
}

/// What is sent where frames of SPDY are expected.
const OF_SPDY: [&str; 8] =
    ["garbage", "large", "bomb", "unpackable", "headers", "even", "twice", "data of none"];

async fn send(what: &str, client: &mut Spdy) -> std::io::Result<()> {
    let error: [(&str, &str); 1] = [("streamtype", "error")];
    match what {
        "garbage" => client.io.write_all(&[0xff; 100]).await,
        "large" => client.control(PING, 0, &[0; 20_000]).await,
        "bomb" => client.open_with(21, &vec![0; 10 << 20]).await,
        "unpackable" => {
            let body = [[0, 0, 0, 21].as_slice(), &[9; 60]].concat();
            client.control(SYN_STREAM, 0, &body).await
        }
        "headers" => client.open(21, &[("a", "b"); 65]).await,
        "even" => client.open(22, &error).await,
        "twice" => {
            client.open(21, &error).await?;
            client.open(21, &error).await
        }
        "data of none" => {
            // The longest that a frame's head can say, of which little comes.
            client.io.write_all(&[0, 0, 0, 99, 0, 0xff, 0xff, 0xff]).await?;
            client.io.write_all(&[7; 1000]).await?;
            client.io.shutdown().await
        }
        _ => unreachable!("{what} is not described"),
    }
}

#[test]
fn frames_of_spdy_that_are_none_end_their_connection_alone() -> Result<()> {
    on_a_node(|stage| {
        let scene = Scene::new(stage)?;
        let takes = Takes::of(stage.node.service_pid("berth-cri")?)?;
        for what in OF_SPDY {
            for is_begun in [false, true] {
                let url = scene.url()?;
                let frames = stage.within(async {
                    let mut client = scene.spdy(is_begun, &url).await?;
                    // It may be cut off before all is sent.
                    let _ = send(what, &mut client).await;
                    Ok(client.rest().await)
                })?;
                // Told of its fault, or cut off.
                let last = frames.iter().rfind(|frame| matches!(frame, Frame::Control(..)));
                if let Some(Frame::Control(GOAWAY, body)) = last {
                    assert_eq!(word(&body[4..]), 1, "{what}: a protocol error");
                }
                scene.goes_on(what)?;
            }
        }
        takes.is_back(MEMORY)?;
        Ok(stage.remove_pod(&scene.pod)?)
    })
}

/// The head of a masked frame of WebSocket that has so many bytes.
fn head(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()
}

/// What is written where frames of WebSocket are expected, and which codes may be told.
fn of_websocket() -> Vec<(&'static str, Vec<u8>)> {
    const BINARY: u8 = 0x82;
    const FIRST_OF_MORE: u8 = 0x02;
    let part = [head(0x00, 1 << 20), vec![0; 1 << 20]].concat();
    let parts = std::iter::once([head(FIRST_OF_MORE, 1), vec![0]].concat());
    vec![
        ("garbage", vec![0xff; 64]),
        ("a frame of 2^62 bytes", head(BINARY, 1 << 62)),
        ("a frame of 1 GiB", head(BINARY, 1 << 30)),
        (
            "a message without an end",
            parts.chain((0..40).map(|_| part.clone())).flatten().collect(),
        ),
        ("a frame that is not masked", vec![BINARY, 3, 0, 1, 2]),
        ("a ping that is too long", [head(0x89, 1000), vec![0; 1000]].concat()),
        ("an opcode that is none", vec![0x8b, 0x80, 0, 0, 0, 0]),
        ("a continuation of nothing", vec![0x80, 0x81, 0, 0, 0, 0, 0]),
    ]
}

#[test]
fn frames_of_websocket_that_are_none_end_their_connection_alone() -> Result<()> {
    on_a_node(|stage| {
        let scene = Scene::new(stage)?;
        let takes = Takes::of(stage.node.service_pid("berth-cri")?)?;
        for (what, bytes) in of_websocket() {
            let url = scene.url()?;
            stage.within(async {
                let mut raw = Client::connect(&url, V4).await?.0.into_inner();
                // It may be cut off before all is sent.
                let _ = raw.write_all(&bytes).await;
                let mut left = Vec::new();
                // Ended or reset, as the kernel has it; within the time of the test.
                let _ = raw.read_to_end(&mut left).await;
                ensure!(left.len() < 1 << 20, "{} bytes come back", left.len());
                Ok(())
            })?;
            scene.goes_on(what)?;
        }
        // As one message of a client that keeps to the protocol.
        let url = scene.url()?;
        let code = stage.within(async {
            let mut client = Client::connect(&url, V4).await?.0;
            let _ = client.send(Message::binary(vec![0; MESSAGE + 1])).await;
            let mut code = None;
            while let Some(Ok(message)) = client.next().await {
                if let Message::Close(close) = message {
                    code = close.map(|close| close.code);
                }
            }
            Ok(code)
        })?;
        ensure!(matches!(code, Some(CloseCode::Size) | None), "{code:?}");
        scene.goes_on("a message that is too large")?;
        takes.is_back(MEMORY)?;
        Ok(stage.remove_pod(&scene.pod)?)
    })
}

#[test]
fn tokens_are_good_once_for_what_they_were_given_for() -> Result<()> {
    on_a_node(|stage| {
        let scene = Scene::new(stage)?;
        let url = scene.url()?;
        let (address, path) = parts(&url)?;
        let asked = |path: String| {
            stage.within(async move {
                let mut io = tokio::net::TcpStream::connect(address).await?;
                let answer = crate::spdy::ask(&mut io, &path, V4).await;
                Ok(answer.lines().next().unwrap_or_default().to_owned())
            })
        };
        let none = "HTTP/1.1 404 Not Found";
        // Asked for as something else it is gone too.
        assert_eq!(asked(path.replace("/exec/", "/attach/"))?, none);
        assert_eq!(asked(path)?, none);
        let (_, path) = parts(&scene.url()?)?;
        assert_eq!(asked(path.clone())?, "HTTP/1.1 101 Switching Protocols");
        assert_eq!(asked(path)?, none);
        for path in ["/exec/", "/exec/..%2f..", "/", "/metrics", "/exec/AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(asked(path.to_owned())?, none, "{path}");
        }
        // A container that has ended since then is talked to by nobody.
        let url = scene.url()?;
        stage.stop(&scene.id, 0)?;
        stage.within(async {
            let mut client = Client::connect(&url, V4).await?;
            let told = client.hear(3, "Failure").await?;
            ensure!(told.contains("CONTAINER_EXITED state"), "{told}");
            Ok(())
        })?;
        Ok(stage.remove_pod(&scene.pod)?)
    })
}
