//! Who we are at a registry: where credentials come from, and how they are told.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_credentials::{Credential, DockerConfig};
use http::HeaderValue;

use super::Error;

/// The header that says the same directly, if there is one.
pub(super) fn header_of(credential: &Credential) -> Option<HeaderValue> {
    let text = match credential {
        Credential::Basic { username, secret } => {
            format!("Basic {}", STANDARD.encode(format!("{username}:{secret}")))
        }
        Credential::Header(text) => text.clone(),
        Credential::Refresh(_) => return None,
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The future that a source of credentials answers with.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Option<Credential>, Error>> + Send + 'a>>;

/// A source of credentials.
pub trait Credentials: Send + Sync {
    /// The credentials for `host`, if this source knows any. `reference` is what is transferred.
    fn lookup<'a>(&'a self, host: &'a str, reference: &'a str) -> Lookup<'a>;
}

/// Knows no credentials.
pub struct Anonymous;

impl Credentials for Anonymous {
    fn lookup<'a>(&'a self, _: &'a str, _: &'a str) -> Lookup<'a> {
        Box::pin(async { Ok(None) })
    }
}

impl Credentials for DockerConfig {
    fn lookup<'a>(&'a self, host: &'a str, _reference: &'a str) -> Lookup<'a> {
        Box::pin(async move { Ok(self.find(host).await?) })
    }
}

/// Asks several sources in order; the first that knows something is heard.
pub struct FirstOf(pub Vec<Arc<dyn Credentials>>);

impl Credentials for FirstOf {
    fn lookup<'a>(&'a self, host: &'a str, reference: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            for source in &self.0 {
                if let Some(found) = source.lookup(host, reference).await? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }
}
