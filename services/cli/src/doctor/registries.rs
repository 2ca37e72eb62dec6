//! The registries that the configuration names, and whether they answer.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use berth_config::Registry;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Line;

/// Hosts that are asked at once, and at all.
const ASKED: usize = 16;
const MOST: usize = 256;

/// A host that is configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Host {
    plain: bool,
    /// `HOST:PORT`.
    at: String,
}

pub(super) async fn look(registry: &Registry) -> Vec<Line> {
    let (mut hosts, mut lines) = (BTreeSet::new(), Vec::new());
    for root in &registry.config_path {
        for entry in fs_err::read_dir(root).into_iter().flatten().flatten() {
            let file = entry.path().join("hosts.toml");
            let Ok(text) = fs_err::read_to_string(&file) else { continue };
            match named(&text) {
                Ok(found) => hosts.extend(found),
                Err(error) => lines.push(wrong(&file, &error)),
            }
        }
    }
    let left = hosts.len().saturating_sub(MOST);
    let patience = registry.timeouts.connect.0.min(Duration::from_secs(10));
    let ask = |host: Host| async move { told(&host, ask(&host, patience).await) };
    let asked = futures::stream::iter(hosts.into_iter().take(MOST)).map(ask).buffered(ASKED);
    lines.extend(asked.collect::<Vec<_>>().await);
    if left > 0 {
        lines.push(Line::warn("registries", format!("{left} more were not asked"), "ask them"));
    }
    if lines.is_empty() {
        lines.push(Line::ok("registries", "none are configured"));
    }
    lines
}

fn wrong(file: &Path, error: &toml::de::Error) -> Line {
    let found = error.message().to_owned();
    Line::fail(format!("registries ({})", file.display()), found, "correct the file")
}

/// The hosts that a `hosts.toml` names: its server, and those in its place.
fn named(text: &str) -> Result<Vec<Host>, toml::de::Error> {
    let table: toml::Table = toml::from_str(text)?;
    let server = table.get("server").and_then(toml::Value::as_str);
    let others = table.get("host").and_then(toml::Value::as_table);
    let others = others.into_iter().flat_map(|hosts| hosts.keys().map(String::as_str));
    Ok(server.into_iter().chain(others).filter_map(host).collect())
}

/// The host of `https://HOST:PORT/PATH`, or of a bare `HOST`.
fn host(url: &str) -> Option<Host> {
    let (plain, rest) = match url.split_once("://") {
        Some(("http", rest)) => (true, rest),
        Some((_, rest)) => (false, rest),
        None => (false, url),
    };
    let host = rest.split('/').next().filter(|host| !host.is_empty())?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if plain { 80 } else { 443 };
    let at = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    Some(Host { plain, at })
}

/// What a host says; with TLS only that it can be reached.
async fn ask(host: &Host, patience: Duration) -> std::io::Result<String> {
    let asked = tokio::time::timeout(patience, async {
        let mut stream = TcpStream::connect(&host.at).await?;
        if !host.plain {
            return Ok("can be reached".to_owned());
        }
        let request =
            format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host.at);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    });
    asked.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn told(host: &Host, answer: std::io::Result<String>) -> Line {
    let what = format!("registry ({})", host.at);
    let next = "see that it runs and can be reached from here, or take it out of hosts.toml";
    match answer {
        Ok(text) if !host.plain => Line::ok(what, text),
        // 401 asks for credentials, which are not looked at here.
        Ok(text) if text.ends_with(" 200") || text.ends_with(" 401") => Line::ok(what, "answers"),
        Ok(text) => Line::warn(what, format!("answers {text:?} to GET /v2/"), next),
        Err(error) => Line::warn(what, format!("does not answer: {error}"), next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_files() {
        let text = "server = \"https://docker.io\"\n[host.\"http://mirror:5000/v2\"]\n\
                    capabilities = [\"pull\"]\n[host.\"other.example\"]\n";
        let hosts = named(text).unwrap();
        let found: Vec<_> = hosts.iter().map(|host| (host.plain, host.at.as_str())).collect();
        let expected =
            [(false, "docker.io:443"), (true, "mirror:5000"), (false, "other.example:443")];
        assert_eq!(found, expected);
        assert_eq!(host("https://[::1]"), Some(Host { plain: false, at: "[::1]:443".into() }));
        assert!(named("server = ").is_err() && host("https://").is_none());
    }
}
