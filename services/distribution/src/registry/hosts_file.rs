//! `hosts.toml`, as containerd documents it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use super::Error;
use super::endpoint::{Capability, Endpoint, Scheme, Tls};
use crate::go_duration;

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Host>,
    // The root table has the same keys as a host's, for the server.
    #[serde(flatten)]
    root: Host,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Host {
    capabilities: Vec<String>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    header: BTreeMap<String, OneOrMany>,
    override_path: bool,
    dial_timeout: Option<String>,
}

/// The keys of a host's table; others are passed over with a word in the log.
const KEYS: [&str; 7] =
    ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Many(Vec<Certificate>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Certificate {
    File(String),
    Pair(String, String),
}

/// Reads the file's text. `own` is the registry's own host, used where the file names no server.
pub(super) fn parse(
    path: &Path,
    text: &str,
    registry: &str,
    own: Endpoint,
) -> Result<Vec<Endpoint>, Error> {
    let wrong = |reason: String| Error::HostsFile { path: path.to_owned(), reason };
    let file: File = toml::from_str(text).map_err(|e| wrong(e.to_string().trim().to_owned()))?;
    let unknown = unknown_keys(text);
    if !unknown.is_empty() {
        tracing::warn!(path = %path.display(), ?unknown, "registry configuration has unknown keys");
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut hosts: Vec<_> = file.host.into_iter().collect();
    hosts.sort_by_key(|(name, _)| name.span().start);
    let mut found = Vec::new();
    for (name, host) in hosts {
        let name = name.into_inner();
        let endpoint = endpoint(&name, host.override_path)
            .and_then(|endpoint| settle(endpoint, host, folder))
            .map_err(|reason| wrong(format!("host {name:?}: {reason}")))?;
        found.push(endpoint.stands_for(registry));
    }
    let server = file.server.filter(|server| !server.is_empty());
    let last = match &server {
        Some(server) => endpoint(server, file.root.override_path),
        None => Ok(own),
    };
    let last = last.and_then(|endpoint| settle(endpoint, file.root, folder)).map_err(|reason| {
        wrong(format!("server {:?}: {reason}", server.as_deref().unwrap_or(registry)))
    })?;
    found.push(last.stands_for(registry));
    Ok(found)
}

/// Keys that say nothing to us, as `KEY` and `host.NAME.KEY`.
fn unknown_keys(text: &str) -> Vec<String> {
    let Ok(root) = text.parse::<toml::Table>() else { return Vec::new() };
    let own = |key: &&String| !KEYS.contains(&key.as_str());
    let mut unknown: Vec<String> = root
        .keys()
        .filter(own)
        .filter(|key| !matches!(key.as_str(), "server" | "host"))
        .cloned()
        .collect();
    let hosts = root.get("host").and_then(toml::Value::as_table);
    for (name, host) in hosts.into_iter().flatten() {
        let keys = host.as_table().into_iter().flat_map(|host| host.keys().filter(own));
        unknown.extend(keys.map(|key| format!("host.{name}.{key}")));
    }
    unknown
}

/// The host at an address, `https` where none is given.
fn endpoint(address: &str, override_path: bool) -> Result<Endpoint, String> {
    let whole =
        if address.starts_with("http") { address.to_owned() } else { format!("https://{address}") };
    let url = reqwest::Url::parse(&whole).map_err(|e| e.to_string())?;
    let scheme = match url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => return Err(format!("scheme {other:?} is not http or https")),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?;
    // A port that is written out belongs to the name, also the scheme's own.
    let written = whole.split_once("://").map_or("", |(_, rest)| rest);
    let written = written.split(['/', '?', '#']).next().unwrap_or_default();
    let port = written.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let host = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let mut endpoint = Endpoint::new(scheme, &host);
    endpoint.path = url.path().trim_end_matches('/').to_owned();
    if !endpoint.path.ends_with("/v2") && !override_path {
        endpoint.path.push_str("/v2");
    }
    Ok(endpoint)
}

/// With what the file says of it.
fn settle(mut endpoint: Endpoint, host: Host, folder: &Path) -> Result<Endpoint, String> {
    let absolute = |file: &str| folder.join(file);
    let tls = Tls {
        ca: host
            .ca
            .map_or(Vec::new(), |ca| ca.into_vec().iter().map(|file| absolute(file)).collect()),
        client: host.client.map_or(Vec::new(), |client| pairs(client, absolute)),
        skip_verify: host.skip_verify,
    };
    endpoint.capabilities = capabilities(&host.capabilities)?;
    endpoint.headers = headers(host.header)?;
    let timeout = host.dial_timeout.filter(|timeout| !timeout.is_empty());
    endpoint.dial_timeout = timeout.as_deref().map(duration).transpose()?;
    Ok(endpoint.with_tls(tls))
}

fn pairs(client: Client, absolute: impl Fn(&str) -> PathBuf) -> Vec<(PathBuf, Option<PathBuf>)> {
    let certificates = match client {
        Client::One(file) => vec![Certificate::File(file)],
        Client::Many(certificates) => certificates,
    };
    let pair = |certificate: &Certificate| match certificate {
        Certificate::File(file) => (absolute(file), None),
        // An empty key says that the key is in the certificate's file.
        Certificate::Pair(file, key) => (absolute(file), (!key.is_empty()).then(|| absolute(key))),
    };
    certificates.iter().map(pair).collect()
}

fn capabilities(words: &[String]) -> Result<Vec<Capability>, String> {
    let all = [Capability::Pull, Capability::Resolve, Capability::Push];
    if words.is_empty() {
        return Ok(all.to_vec());
    }
    let mut found = Vec::new();
    for word in words {
        let lower = word.to_ascii_lowercase();
        match all.iter().find(|capability| capability.word() == lower) {
            Some(capability) => found.push(*capability),
            // Known to containerd; nothing of ours asks for referrers.
            None if lower == "referrers" => {}
            None => {
                return Err(format!("unknown capability {word}, there are pull, resolve, push"));
            }
        }
    }
    Ok(found)
}

fn headers(pairs: BTreeMap<String, OneOrMany>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in pairs {
        let key: HeaderName = name.parse().map_err(|_| format!("bad header name {name:?}"))?;
        for value in values.into_vec() {
            let value: HeaderValue =
                value.parse().map_err(|_| format!("bad value of header {name:?}"))?;
            headers.append(key.clone(), value);
        }
    }
    Ok(headers)
}

fn duration(text: &str) -> Result<Duration, String> {
    let nanos = go_duration::parse(text).and_then(|nanos| u64::try_from(nanos).ok());
    let wrong = || format!("dial_timeout {text:?} is no length of time such as 5s or 1m30s");
    nanos.map(Duration::from_nanos).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::hosts::endpoints;
    use super::*;

    fn read(text: &str) -> Result<Vec<Endpoint>, Error> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("docker.io");
        fs_err::create_dir(&folder).unwrap();
        fs_err::write(folder.join("hosts.toml"), text).unwrap();
        endpoints("docker.io", &[root.path().to_owned()], None)
    }

    #[test]
    fn hosts_come_in_the_files_order_and_the_server_last() {
        let found = read(
            r#"
            server = "https://registry-1.docker.io"
            [host."http://z.mirror:5000/prefix"]
              capabilities = ["pull", "Resolve", "referrers"]
              dial_timeout = "1m1.5s"
              [host."http://z.mirror:5000/prefix".header]
                x-a = ["1", "2"]
            [host."a.mirror:443/own"]
              ca = "ca.pem"
              client = [["c.pem", "/k.pem"], ["both.pem", ""], "one.pem"]
              skip_verify = true
              override_path = true
              newer_than_us = { a = 1 }
            [host."https://registry-1.docker.io"]
            "#,
        )
        .unwrap();
        let names: Vec<_> = found.iter().map(|e| format!("{}{}", e.host, e.path)).collect();
        let own = "registry-1.docker.io/v2";
        assert_eq!(names, ["z.mirror:5000/prefix/v2", "a.mirror:443/own", own, own]);
        assert!(found[0].may(Capability::Resolve) && !found[0].may(Capability::Push));
        assert_eq!(found[0].headers.get_all("x-a").iter().count(), 2);
        assert_eq!(found[0].dial_timeout, Some(Duration::from_millis(61_500)));
        assert!(found[0].is_plain());
        assert!(found[1].tls.ca[0].ends_with("docker.io/ca.pem"));
        assert_eq!(found[1].tls.skip_verify, Some(true));
        let client = &found[1].tls.client;
        assert_eq!(client[0].1.as_deref(), Some(Path::new("/k.pem")));
        assert_eq!((&client[1].1, &client[2].1, client.len()), (&None, &None, 3));
        assert!(client[2].0.ends_with("docker.io/one.pem"));
        assert_eq!(found[0].mirror_of.as_deref(), Some("docker.io"));
        assert_eq!((&found[2].mirror_of, &found[3].mirror_of), (&None, &None));
    }

    #[test]
    fn a_mistake_is_named_with_its_file() {
        for text in [
            "capabilities = ['fly']",
            "[host.'https://']",
            "x =",
            "dial_timeout = '5'",
            "dial_timeout = 'soon'",
            "dial_timeout = '-1s'",
            "client = [['one']]",
            "ca = 7",
            "skip_verify = 'yes'",
            "server = 'httpx://h'",
            "header = { x = 1 }",
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("docker.io/hosts.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_keys_are_passed_over() {
        let text = "serber = 'x'\nca = 'a'\n[host.'h']\nfly = 1\n[host.'h'.header]\nx = 'y'\n";
        assert_eq!(unknown_keys(text), ["serber", "host.h.fly"]);
        assert_eq!(read(text).unwrap().len(), 2);
    }

    #[test]
    fn without_a_server_the_registry_is_asked_last() {
        let found = read("[host.'m']\n").unwrap();
        let (mirror, own) = (&found[0], &found[1]);
        assert_eq!((mirror.scheme(), mirror.host.as_str(), &*mirror.path), ("https", "m", "/v2"));
        assert_eq!((own.host.as_str(), &own.mirror_of), ("registry-1.docker.io", &None));
        assert_eq!(read("server = ''").unwrap()[0].host, "registry-1.docker.io");
    }

    #[test]
    fn files_of_any_bytes_are_read_or_refused() {
        let text = "server = \"http://r:1\"\ncapabilities = [\"pull\", \"resolve\"]\n[host.\"http://m:1/a\"]\nca = [\"a\"]\nclient = [[\"c\", \"k\"]]\nskip_verify = true\noverride_path = true\ndial_timeout = \"1s\"\n[host.\"http://m:1/a\".header]\nx-a = [\"b\"]\n";
        let mut seed = 7_u64;
        let mut dice = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap_or(0) % bound
        };
        let (mut read_as_it_is, mut refused) = (0, 0);
        for _ in 0..2000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=dice(3) {
                let at = dice(bytes.len());
                match dice(3) {
                    0 => bytes[at] = u8::try_from(dice(128)).unwrap_or(0),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"\"[]={}.:/\n 0"[dice(12)]),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            match parse(Path::new("/hosts.toml"), &text, "r:1", Endpoint::default_of("r:1", None)) {
                Ok(found) => {
                    read_as_it_is += 1;
                    assert!(found.iter().all(|endpoint| !endpoint.host.is_empty()), "{text}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read_as_it_is > 100 && refused > 100, "{read_as_it_is} read, {refused} refused");
    }
}
