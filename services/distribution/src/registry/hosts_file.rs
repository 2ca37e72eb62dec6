//! `hosts.toml`, as containerd documents it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use super::Error;
use super::endpoint::{Capability, Endpoint, Tls};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Host>,
    // The root table has the same keys as a host's; `flatten` would lose the check for unknown ones.
    #[serde(default)]
    capabilities: Vec<String>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    override_path: bool,
    dial_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Host {
    capabilities: Vec<String>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: bool,
    header: BTreeMap<String, OneOrMany>,
    override_path: bool,
    dial_timeout: Option<String>,
}

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
    Files(Vec<String>),
    Pairs(Vec<(String, String)>),
}

/// Reads the file's text. `own` is the registry's own host, used where the file names no server;
/// `guessed`: its scheme is nobody's wish.
pub(super) fn parse(
    path: &Path,
    text: &str,
    registry: &str,
    own: Endpoint,
    guessed: bool,
) -> Result<Vec<Endpoint>, Error> {
    let wrong = |reason: String| Error::HostsFile { path: path.to_owned(), reason };
    let file: File = toml::from_str(text).map_err(|e| wrong(e.to_string().trim().to_owned()))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut hosts: Vec<_> = file.host.into_iter().collect();
    hosts.sort_by_key(|(name, _)| name.span().start);
    let mut found = Vec::new();
    for (name, host) in hosts {
        let name = name.into_inner();
        let endpoint = endpoint(&name, host, folder, registry)
            .map_err(|reason| wrong(format!("host {name:?}: {reason}")))?;
        found.push(endpoint);
    }
    let root = Host {
        capabilities: file.capabilities,
        ca: file.ca,
        client: file.client,
        skip_verify: file.skip_verify,
        header: file.header,
        override_path: file.override_path,
        dial_timeout: file.dial_timeout,
    };
    let has_tls = root.ca.is_some() || root.client.is_some() || root.skip_verify;
    let scheme = if has_tls && guessed { "https" } else { &own.scheme };
    let server = file.server.unwrap_or_else(|| format!("{scheme}://{}", own.host));
    let mut last = endpoint(&server, root, folder, registry)
        .map_err(|reason| wrong(format!("server {server:?}: {reason}")))?;
    if last.host == own.host {
        last.mirror_of = None;
    }
    found.push(last);
    Ok(found)
}

fn endpoint(server: &str, host: Host, folder: &Path, registry: &str) -> Result<Endpoint, String> {
    let server =
        if server.starts_with("http") { server.to_owned() } else { format!("https://{server}") };
    let url = reqwest::Url::parse(&server).map_err(|e| e.to_string())?;
    let name = url.host_str().ok_or("it has no host")?;
    let name = url.port().map_or(name.to_owned(), |port| format!("{name}:{port}"));
    let mut path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with("/v2") && !host.override_path {
        path.push_str("/v2");
    }
    let absolute = |file: &str| folder.join(file);
    Ok(Endpoint {
        scheme: url.scheme().to_owned(),
        mirror_of: (name != registry).then(|| registry.to_owned()),
        host: name,
        path,
        capabilities: capabilities(&host.capabilities)?,
        tls: Tls {
            ca: host
                .ca
                .map_or(Vec::new(), |ca| ca.into_vec().iter().map(|file| absolute(file)).collect()),
            client: host.client.map_or(Vec::new(), |client| pairs(client, absolute)),
            skip_verify: host.skip_verify,
        },
        headers: headers(host.header)?,
        dial_timeout: host.dial_timeout.as_deref().map(duration).transpose()?,
    })
}

fn pairs(client: Client, absolute: impl Fn(&str) -> PathBuf) -> Vec<(PathBuf, Option<PathBuf>)> {
    match client {
        Client::One(file) => vec![(absolute(&file), None)],
        Client::Files(files) => files.iter().map(|file| (absolute(file), None)).collect(),
        Client::Pairs(pairs) => {
            // An empty key says that the key is in the certificate's file.
            let key = |key: &String| (!key.is_empty()).then(|| absolute(key));
            pairs.iter().map(|(cert, own)| (absolute(cert), key(own))).collect()
        }
    }
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
            None => return Err(format!("unknown capability {word:?}: pull, resolve, push")),
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
    humantime::parse_duration(text).map_err(|e| format!("dial_timeout {text:?}: {e}"))
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
              capabilities = ["pull", "Resolve"]
              dial_timeout = "2s"
              [host."http://z.mirror:5000/prefix".header]
                x-a = ["1", "2"]
            [host."a.mirror/own"]
              ca = "ca.pem"
              client = [["c.pem", "/k.pem"], ["both.pem", ""]]
              skip_verify = true
              override_path = true
            "#,
        )
        .unwrap();
        let names: Vec<_> = found.iter().map(|e| format!("{}{}", e.host, e.path)).collect();
        assert_eq!(names, ["z.mirror:5000/prefix/v2", "a.mirror/own", "registry-1.docker.io/v2"]);
        assert!(found[0].may(Capability::Resolve) && !found[0].may(Capability::Push));
        assert_eq!(found[0].headers.get_all("x-a").iter().count(), 2);
        assert_eq!(found[0].dial_timeout, Some(Duration::from_secs(2)));
        assert!(found[1].tls.ca[0].ends_with("docker.io/ca.pem") && found[1].tls.skip_verify);
        assert_eq!(found[1].tls.client[0].1.as_deref(), Some(Path::new("/k.pem")));
        assert_eq!(found[1].tls.client[1].1, None);
        assert_eq!(found[0].mirror_of.as_deref(), Some("docker.io"));
        assert_eq!(found[2].mirror_of, None);
    }

    #[test]
    fn a_mistake_is_named_with_its_file() {
        for text in ["serber = 'x'", "capabilities = ['fly']", "[host.'https://']", "x ="] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("docker.io/hosts.toml"), "{error}");
        }
    }
}
