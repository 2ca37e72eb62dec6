//! HTTP clients, one for each way of setting up connections, kept with their open connections.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity};

use super::Error;
use super::endpoint::{Endpoint, Tls};

/// How long an idle connection is kept.
const KEEP_IDLE: Duration = Duration::from_secs(20);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    plain: bool,
    tls: Tls,
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
        let key = Key {
            plain: endpoint.scheme == "http",
            tls: endpoint.tls.clone(),
            dial: endpoint.dial_timeout.unwrap_or(dial),
        };
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = made.get(&key) {
            return Ok(client.clone());
        }
        let client =
            build(&key).map_err(|reason| Error::Tls { host: endpoint.host.clone(), reason })?;
        made.insert(key, client.clone());
        Ok(client)
    }
}

fn build(key: &Key) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(key.dial)
        .pool_idle_timeout(KEEP_IDLE)
        .tcp_nodelay(true)
        .http2_adaptive_window(true)
        .referer(false)
        .tls_danger_accept_invalid_certs(key.tls.skip_verify);
    let mut roots = Vec::new();
    for file in &key.tls.ca {
        let pem = fs_err::read(file).map_err(|e| e.to_string())?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|e| named(file, &e))?;
        if found.is_empty() {
            return Err(format!("{} has no certificate", file.display()));
        }
        roots.extend(found);
    }
    // A plain or unverified host needs no roots, and reading the system's takes time and memory.
    builder = if (key.plain || key.tls.skip_verify) && roots.is_empty() {
        builder.tls_certs_only(roots)
    } else {
        builder.tls_certs_merge(roots)
    };
    // One identity per connection is all that rustls offers without choosing among several.
    if let Some((certificate, own_key)) = key.tls.client.first() {
        let mut pem = fs_err::read(certificate).map_err(|e| e.to_string())?;
        if let Some(file) = own_key {
            pem.push(b'\n');
            pem.extend(fs_err::read(file).map_err(|e| e.to_string())?);
        }
        builder = builder.identity(Identity::from_pem(&pem).map_err(|e| named(certificate, &e))?);
    }
    builder.build().map_err(|e| berth_errors::chain(&e))
}

fn named(file: &std::path::Path, error: &reqwest::Error) -> String {
    format!("{}: {}", file.display(), berth_errors::chain(error))
}
