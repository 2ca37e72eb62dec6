//! Streams of commands and containers, and ports of pods, as API servers come for them: by WebSocket, with the address that
//! the CRI gave.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::until;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tonic::Code;

use crate::stage::{SOON, Stage, on_a_node, on_a_node_of, refused, shell, usual};

const SUCCESS: &[u8] = b"{\"status\":\"Success\"}";

/// A client of one address.
pub struct Client(pub WebSocketStream<TcpStream>);

impl Client {
    pub async fn connect(url: &str, protocol: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").context("an address without TLS")?;
        let host = rest.split('/').next().unwrap_or_default();
        let io = TcpStream::connect(host).await?;
        let mut request = format!("ws://{rest}").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse()?);
        Ok(Self(tokio_tungstenite::client_async(request, io).await?.0))
    }

    pub async fn say(&mut self, channel: u8, text: &[u8]) -> Result<()> {
        let message = [&[channel][..], text].concat();
        Ok(self.0.send(Message::binary(message)).await?)
    }

    /// What comes on a channel until `text` is in it.
    pub async fn hear(&mut self, channel: u8, text: &str) -> Result<String> {
        let mut heard = Vec::new();
        loop {
            let said = String::from_utf8_lossy(&heard).into_owned();
            if said.contains(text) {
                return Ok(said);
            }
            let message =
                self.0.next().await.with_context(|| format!("the end after {said:?}"))??;
            let Message::Binary(bytes) = message else { continue };
            if bytes.first() == Some(&channel) {
                heard.extend_from_slice(&bytes[1..]);
            }
        }
    }
}

impl Stage {
    pub fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.tokio().block_on(async { tokio::time::timeout(SOON, work).await? })
    }

    pub fn exec_url(&self, id: &str, command: &[&str], tty: bool) -> Result<String, tonic::Status> {
        let request = cri::ExecRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            tty,
            stdin: true,
            stdout: true,
            stderr: !tty,
        };
        Ok(self.runtime(|mut c| async move { c.exec(request).await })?.url)
    }
}

#[test]
fn a_connection_without_a_word_ends_when_it_is_configured_to() -> Result<()> {
    let file = |folder: &Path| {
        Ok(usual(folder).replace("[cri]\n", "[cri]\nstream_idle_timeout = \"2s\"\n"))
    };
    on_a_node_of(file, |stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("idle")?;
        stage.pull()?;
        let id = stage.started(&pod, &shell("on", &stage.image, "sleep 1000"), &pod_config)?;
        let url = stage.exec_url(&id, &["sh", "-c", "echo on; exec sleep 1000"], false)?;
        stage.within(async {
            let mut client = Client::connect(&url, "v4.channel.k8s.io").await?;
            client.hear(1, "on").await?;
            while client.0.next().await.is_some_and(|message| message.is_ok()) {}
            Ok(())
        })?;
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn a_command_does_not_outlive_the_service_that_made_it() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("cut-off")?;
        stage.pull()?;
        let id = stage.started(&pod, &shell("on", &stage.image, "sleep 1000"), &pod_config)?;
        let url = stage.exec_url(&id, &["sh", "-c", "echo on; exec sleep 2000"], false)?;
        stage.within(async {
            let mut client = Client::connect(&url, "v4.channel.k8s.io").await?;
            client.hear(1, "on").await?;
            stage.node.kill_service("berth-cri")?;
            while client.0.next().await.is_some_and(|message| message.is_ok()) {}
            Ok(())
        })?;
        let folders = || -> Result<usize> {
            let io = fs_err::read_dir(stage.node.path("state/cri/io"))?;
            let mut folders = 0;
            for container in io {
                for entry in fs_err::read_dir(container?.path())? {
                    folders += usize::from(entry?.file_type()?.is_dir());
                }
            }
            Ok(folders)
        };
        until("it is taken away", SOON, || folders().is_ok_and(|folders| folders == 0))?;
        until("it is told of", SOON, || stage.container(&id).is_ok())?;
        let runs = stage.node.ctr("-n k8s.io tasks ps").args([&id]).output()?.ok()?;
        assert_eq!(runs.lines().count(), 2, "a header, and the container's own: {runs}");
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn commands_have_their_streams_and_tell_how_they_ended() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("exec")?;
        stage.pull()?;
        let id = stage.create(&pod, &shell("on", &stage.image, "sleep 1000"), &pod_config)?;
        refused(stage.exec_url(&id, &["true"], false), Code::Unknown, "CONTAINER_CREATED state")?;
        stage.start(&id)?;
        let url = stage.exec_url(
            &id,
            &["sh", "-c", "read x; echo got $x; echo oops >&2; exit 4"],
            false,
        )?;
        stage.within(async {
            let mut client = Client::connect(&url, "v4.channel.k8s.io").await?;
            client.say(0, b"this\n").await?;
            client.hear(1, "got this\n").await?;
            let ended = client.hear(3, "\"Failure\"}").await?;
            let ended: serde_json::Value = serde_json::from_str(&ended)?;
            let cause = serde_json::json!({"reason": "ExitCode", "message": "4"});
            assert_eq!(ended["details"]["causes"][0], cause);
            // A token is good once.
            ensure!(Client::connect(&url, "v4.channel.k8s.io").await.is_err());
            Ok(())
        })?;
        // An input that ends, as the newest protocol can tell.
        let url = stage.exec_url(&id, &["cat"], false)?;
        stage.within(async {
            let mut client = Client::connect(&url, "v5.channel.k8s.io").await?;
            client.say(0, b"all of it").await?;
            client.hear(1, "all of it").await?;
            client.say(255, &[0]).await?;
            let ended = client.hear(3, "}").await?;
            assert_eq!(ended.as_bytes(), SUCCESS);
            Ok(())
        })?;
        // A terminal, and its size.
        let url = stage.exec_url(&id, &["sh"], true)?;
        stage.within(async {
            let mut client = Client::connect(&url, "v4.channel.k8s.io").await?;
            client.say(4, br#"{"Width":123,"Height":45}"#).await?;
            loop {
                client.say(0, b"stty size; echo -n asked-; echo now\n").await?;
                let said = client.hear(1, "asked-now").await?;
                if said.contains("45 123") {
                    break;
                }
            }
            client.say(0, b"exit 0\n").await?;
            client.hear(3, "Success").await.map(drop)
        })?;
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn who_attaches_hears_and_is_heard() -> Result<()> {
    on_a_node(|stage| {
        let (logs, pod_config, pod) = stage.pod_with_logs("attach")?;
        stage.pull()?;
        let mut config =
            shell("asks", &stage.image, "while read x; do echo you said $x; done; echo end");
        (config.stdin, config.stdin_once) = (true, true);
        let id = stage.create(&pod, &config, &pod_config)?;
        stage.start(&id)?;
        let attach = cri::AttachRequest {
            container_id: id.clone(),
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
        };
        let url = || -> Result<String> {
            let attach = attach.clone();
            Ok(stage.runtime(|mut c| async move { c.attach(attach).await })?.url)
        };
        let (first, second) = (url()?, url()?);
        stage.within(async {
            let mut one = Client::connect(&first, "v5.channel.k8s.io").await?;
            let mut two = Client::connect(&second, "v5.channel.k8s.io").await?;
            // Who is heard by the other is there.
            loop {
                one.say(0, b"hello\n").await?;
                one.hear(1, "you said hello\n").await?;
                let heard =
                    tokio::time::timeout(Duration::from_millis(500), two.hear(1, "you said"));
                if heard.await.is_ok() {
                    break;
                }
            }
            one.say(255, &[0]).await?;
            two.hear(1, "end\n").await?;
            two.hear(3, "Success").await.map(drop)
        })?;
        assert_eq!(stage.ended(&id)?.exit_code, 0);
        let log = fs_err::read_to_string(logs.join("asks.log"))?;
        ensure!(
            log.contains("stdout F you said hello") && log.ends_with("stdout F end\n"),
            "{log}"
        );
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn ports_of_a_pod_are_reached() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("ports")?;
        stage.pull()?;
        let script =
            "mkdir /w; echo it works > /w/index.html; exec httpd -f -p 127.0.0.1:8000 -h /w";
        let id = stage.create(&pod, &shell("web", &stage.image, script), &pod_config)?;
        stage.start(&id)?;
        let request = || cri::PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![8000] };
        let url = || -> Result<String> {
            let request = request();
            Ok(stage.runtime(|mut c| async move { c.port_forward(request).await })?.url)
        };
        berth_testkit::until("the pod's port is reached", SOON, || {
            let Ok(url) = url() else { return false };
            let got = stage.within(async {
                let mut client = Client::connect(&url, "v4.channel.k8s.io").await?;
                client.say(0, b"GET / HTTP/1.0\r\n\r\n").await?;
                client.hear(0, "it works").await
            });
            got.is_ok()
        })?;
        let wrong = cri::PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![0] };
        let wrong = stage.runtime(|mut c| async move { c.port_forward(wrong).await });
        refused(wrong, Code::InvalidArgument, "invalid port 0")?;
        Ok(stage.remove_pod(&pod)?)
    })
}
