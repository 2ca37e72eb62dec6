//! An API server that answers what clients look up first, and passes upgrades on, byte by byte.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, Result};
use serde_json::json;

use super::POD;
use crate::http::{self, Head};

/// A running one. Its threads end with the test.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    address: String,
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// What a client wants of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A command in its container.
    Exec(Vec<String>, Streams),
    /// The streams of the container's own process.
    Attach(Streams),
    /// Its ports; those of SPDY come later.
    PortForward(Vec<u16>),
    /// What the container has printed.
    Log,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// What is served at `http://HOST:PORT/PATH`.
    At(String),
    /// A text.
    Text(String),
}

impl Kubernetes {
    /// With a pod `pod` in the namespace `default`, which has a container `c`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(give: impl Fn(Wanted) -> Result<Given> + Clone + Send + 'static) -> Result<Self> {
        // A client that goes is no failure of a test by itself.
        let address = http::serve(move |client| drop(answer(client, &give)))?;
        Ok(Self { address })
    }

    /// `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer(mut client: TcpStream, give: &impl Fn(Wanted) -> Result<Given>) -> Result<()> {
    let Some(head) = Head::read(&mut client) else { return Ok(()) };
    let target = head.word(1).to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    match wanted(path, query).map(give) {
        None => plain(&mut client, path)?,
        Some(Ok(Given::At(url))) => pass(client, &head, &url)?,
        Some(Ok(Given::Text(text))) => {
            let length = text.len();
            write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            )?;
            client.shutdown(Shutdown::Write)?;
        }
        Some(Err(error)) => {
            let message = format!("{error:#}");
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                                "code": 500, "message": message});
            http::answer(&mut client, "500 Internal Server Error", &status.to_string())?;
        }
    }
    Ok(())
}

/// Has another server answer, and carries all between them.
fn pass(mut client: TcpStream, head: &Head, url: &str) -> Result<()> {
    let rest = url.strip_prefix("http://").context("an address without TLS")?;
    let (host, path) = rest.split_once('/').context("a path")?;
    let mut behind = TcpStream::connect(host)?;
    behind.write_all(head.at(&format!("/{path}")).0.as_bytes())?;
    let (mut back, mut to) = (behind.try_clone()?, client.try_clone()?);
    let returning = std::thread::spawn(move || {
        let copied = io::copy(&mut back, &mut to);
        let _ = to.shutdown(Shutdown::Write);
        copied
    });
    let copied = io::copy(&mut client, &mut behind);
    let _ = behind.shutdown(Shutdown::Write);
    let _ = returning.join();
    Ok(copied.map(drop)?)
}

fn wanted(path: &str, query: &str) -> Option<Wanted> {
    let verb = path.strip_prefix(&format!("/api/v1/namespaces/default/pods/{POD}/"))?;
    let values = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).collect()
    };
    let flag = |name| values(name) == ["true"];
    let streams = Streams {
        stdin: flag("stdin"),
        stdout: flag("stdout"),
        stderr: flag("stderr"),
        tty: flag("tty"),
    };
    let ports = || values("ports").iter().filter_map(|port| port.parse().ok()).collect();
    Some(match verb {
        "exec" => Wanted::Exec(values("command"), streams),
        "attach" => Wanted::Attach(streams),
        "portforward" => Wanted::PortForward(ports()),
        "log" => Wanted::Log,
        _ => return None,
    })
}

/// A value of a query.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn plain(client: &mut TcpStream, path: &str) -> io::Result<()> {
    let resource = |name: &str| {
        json!({"name": name, "namespaced": true, "kind": "Pod", "singularName": "pod",
               "verbs": ["get", "create"]})
    };
    let resources =
        ["pods", "pods/exec", "pods/attach", "pods/portforward", "pods/log"].map(resource);
    let pod = format!("/api/v1/namespaces/default/pods/{POD}");
    let body = match path {
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1" => {
            json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources})
        }
        _ if path == pod => json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": POD, "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "i", "stdin": true}]},
            "status": {"phase": "Running"}}),
        _ => {
            let none = json!({"kind": "Status", "status": "Failure", "code": 404});
            return http::answer(client, "404 Not Found", &none.to_string());
        }
    };
    http::answer(client, "200 OK", &body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_say_what_is_wanted() {
        let path = "/api/v1/namespaces/default/pods/pod/";
        let streams = Streams { stdin: true, stdout: true, stderr: false, tty: false };
        let query = "command=sh&command=a+b%26&stdin=true&stdout=true&tty=false";
        assert_eq!(
            wanted(&format!("{path}exec"), query),
            Some(Wanted::Exec(vec!["sh".to_owned(), "a b&".to_owned()], streams))
        );
        let ports = wanted(&format!("{path}portforward"), "ports=80&ports=x&ports=8000");
        assert_eq!(ports, Some(Wanted::PortForward(vec![80, 8000])));
        assert_eq!(wanted(&format!("{path}delete"), ""), None);
        assert_eq!(wanted("/api/v1/namespaces/default/pods/other/log", ""), None);
    }
}
