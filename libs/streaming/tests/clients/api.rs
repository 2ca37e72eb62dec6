//! An API server as small as kubectl lets it be: it answers what kubectl looks up first, and passes
//! upgrades on to the streaming server, byte by byte.

use std::net::SocketAddr;

use berth_lifecycle::Tasks;
use berth_streaming::{Asked, Limits, Request, Server};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::processes::Processes;

/// The two servers.
pub struct Api {
    pub address: SocketAddr,
    pub streaming: SocketAddr,
    pub server: Server<Processes>,
    pub tasks: Tasks,
}

impl Api {
    pub async fn start(limits: Limits) -> Self {
        Self::start_on("127.0.0.1:0", limits).await
    }

    pub async fn start_on(streaming: &str, limits: Limits) -> Self {
        let tasks = Tasks::new();
        let server = Server::new(Processes, limits);
        let listener = TcpListener::bind(streaming).await.unwrap();
        let streaming = listener.local_addr().unwrap();
        server.listen(listener, &tasks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (own, shared) = (tasks.clone(), server.clone());
        tasks.spawn_endless("api", async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = shared.clone();
                own.spawn_endless("api client", async move {
                    // A client that goes is no failure of a test by itself.
                    let _ = answer(client, &server, streaming).await;
                });
            }
        });
        Self { address, streaming, server, tasks }
    }

    /// A command with everything but a terminal.
    pub fn exec(&self, command: &[&str]) -> String {
        let asked = Asked { stdin: true, stdout: true, stderr: true, tty: false };
        self.issue(Request::Exec { what: (), command: words(command), asked })
    }

    pub fn issue(&self, request: Request<()>) -> String {
        self.server.issue(request).unwrap().path()
    }

    /// Ends all, and shows that nothing resists.
    pub async fn stop(self) {
        let deaf = self.tasks.drain(std::time::Duration::from_secs(20)).await;
        assert_eq!(deaf, Vec::<&str>::new());
    }
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn answer(
    mut client: TcpStream,
    server: &Server<Processes>,
    streaming: SocketAddr,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let (first, rest) = text.split_once("\r\n").unwrap();
    let (method, target) = first.split_once(' ').unwrap();
    let target = target.trim_end_matches(" HTTP/1.1");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(request) = wanted(path, query) else {
        return plain(client, path).await;
    };
    let ticket = server.issue(request).unwrap();
    let mut behind = TcpStream::connect(streaming).await?;
    let passed = format!("{method} {} HTTP/1.1\r\n{rest}", ticket.path());
    behind.write_all(passed.as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut behind).await?;
    Ok(())
}

fn wanted(path: &str, query: &str) -> Option<Request<()>> {
    let verb = path.strip_prefix("/api/v1/namespaces/default/pods/pod/")?;
    let values = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).collect()
    };
    let flag = |name| values(name) == ["true"];
    let asked = Asked {
        stdin: flag("stdin"),
        stdout: flag("stdout"),
        stderr: flag("stderr"),
        tty: flag("tty"),
    };
    Some(match verb {
        "exec" => Request::Exec { what: (), command: values("command"), asked },
        "attach" => Request::Attach { what: (), asked },
        "portforward" => Request::PortForward { what: (), pod: "pod".into(), ports: Vec::new() },
        _ => return None,
    })
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

async fn plain(mut client: TcpStream, path: &str) -> std::io::Result<()> {
    let resource = |name: &str| {
        json!({"name": name, "namespaced": true, "kind": "Pod", "singularName": "pod",
               "verbs": ["get", "create"]})
    };
    let body = match path {
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        "/api/v1" => Some(json!({"kind": "APIResourceList", "groupVersion": "v1",
            "resources": [resource("pods"), resource("pods/exec"), resource("pods/attach"),
                          resource("pods/portforward")]})),
        "/api/v1/namespaces/default/pods/pod" => Some(json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "pod", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "i", "stdin": true}]},
            "status": {"phase": "Running"}})),
        _ => None,
    };
    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
    let body = body.unwrap_or_else(|| json!({"kind": "Status", "status": "Failure", "code": 404}));
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}
