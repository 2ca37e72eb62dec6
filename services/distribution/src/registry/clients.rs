//! HTTP clients, one for each way of setting up connections, kept with their open connections.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity};

use super::Error;
use super::endpoint::Endpoint;

/// How long an idle connection is kept.
const KEEP_IDLE: Duration = Duration::from_secs(20);

/// The most clients that are kept. One is made anew at the price of its open connections.
const MAX_CLIENTS: usize = 64;
/// The most that a file with certificates may measure.
const MAX_FILE: u64 = 4 << 20;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    plain: bool,
    skip_verify: bool,
    /// What is in the files, not where they are: they may be replaced while we run.
    ca: Vec<(PathBuf, Vec<u8>)>,
    identity: Option<(PathBuf, Vec<u8>)>,
    dial: Duration,
}

/// The process's clients.
#[derive(Default)]
pub(super) struct Clients {
    made: Mutex<HashMap<Key, Client>>,
}

impl Clients {
    /// The client for this host; `dial` is used where the host has no dial timeout of its own.
    pub(super) fn client(&self, endpoint: &Endpoint, dial: Duration) -> Result<Client, Error> {
        let wrong = |reason| Error::Tls { host: endpoint.host.clone(), reason };
        let key = key(endpoint, dial).map_err(wrong)?;
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = made.get(&key) {
            return Ok(client.clone());
        }
        let client = build(&key).map_err(wrong)?;
        if made.len() >= MAX_CLIENTS {
            made.clear();
        }
        made.insert(key, client.clone());
        Ok(client)
    }
}

fn key(endpoint: &Endpoint, dial: Duration) -> Result<Key, String> {
    let tls = &endpoint.tls;
    let mut ca = Vec::new();
    for file in &tls.ca {
        ca.push((file.clone(), read(file)?));
    }
    // One identity per connection is all that rustls offers without choosing among several.
    let identity = match tls.client.first() {
        Some((certificate, own_key)) => {
            let mut pem = read(certificate)?;
            if let Some(file) = own_key {
                pem.push(b'\n');
                pem.extend(read(file)?);
            }
            Some((certificate.clone(), pem))
        }
        None => None,
    };
    Ok(Key {
        plain: endpoint.is_plain(),
        skip_verify: tls.skip_verify.unwrap_or(false),
        ca,
        identity,
        dial: endpoint.dial_timeout.unwrap_or(dial),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let (mut bytes, file) = (Vec::new(), fs_err::File::open(path).map_err(|e| e.to_string())?);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("{} is larger than {MAX_FILE} bytes", path.display()));
    }
    Ok(bytes)
}

fn build(key: &Key) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(key.dial)
        .pool_idle_timeout(KEEP_IDLE)
        .tcp_nodelay(true)
        .http2_adaptive_window(true)
        .referer(false)
        .tls_danger_accept_invalid_certs(key.skip_verify);
    let mut roots = Vec::new();
    for (file, pem) in &key.ca {
        let found = Certificate::from_pem_bundle(pem).map_err(|e| named(file, &e))?;
        if found.is_empty() {
            return Err(format!("{} has no certificate", file.display()));
        }
        roots.extend(found);
    }
    // A plain or unverified host needs no roots, and reading the system's takes time and memory.
    builder = if (key.plain || key.skip_verify) && roots.is_empty() {
        builder.tls_certs_only(roots)
    } else {
        builder.tls_certs_merge(roots)
    };
    if let Some((certificate, pem)) = &key.identity {
        builder = builder.identity(Identity::from_pem(pem).map_err(|e| named(certificate, &e))?);
    }
    builder.build().map_err(|e| berth_errors::chain(&e))
}

fn named(file: &Path, error: &reqwest::Error) -> String {
    format!("{}: {}", file.display(), berth_errors::chain(error))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::super::endpoint::Scheme;
    use super::*;

    /// A host that takes no more connections, and does not say so: its queue is full.
    fn deaf() -> (TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let (address, wait) = (listener.local_addr().unwrap(), Duration::from_millis(200));
        let connect = || TcpStream::connect_timeout(&address, wait).ok();
        let queued = std::iter::from_fn(connect).collect();
        (listener, queued)
    }

    #[tokio::test]
    async fn a_hosts_own_dial_timeout_counts() {
        let (listener, _queued) = deaf();
        let mut endpoint = Endpoint::new(Scheme::Http, &listener.local_addr().unwrap().to_string());
        endpoint.dial_timeout = Some(Duration::from_millis(300));
        let client = Clients::default().client(&endpoint, Duration::from_secs(60)).unwrap();
        let begun = Instant::now();
        let late = client.get(format!("http://{}/", endpoint.host)).send().await.unwrap_err();
        assert!(late.is_connect() && late.is_timeout(), "{late:?}");
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(begun.elapsed() < Duration::from_secs(30), "the usual one counts");
    }
}
