//! Who we are at a registry: the forms that credentials take and where they come from.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::Error;

/// Credentials of one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user's name and password.
    Basic {
        /// The name.
        username: String,
        /// The password or access token.
        secret: String,
    },
    /// An identity token, to be exchanged for access tokens.
    Refresh(String),
    /// A whole `Authorization` header.
    Header(String),
}

impl std::fmt::Debug for Credential {
    /// The secret is never shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credential::Basic { username, .. } => write!(f, "Basic({username})"),
            Credential::Refresh(_) => f.write_str("Refresh"),
            Credential::Header(_) => f.write_str("Header"),
        }
    }
}

impl Credential {
    /// The header that says the same directly, if there is one.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
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
