//! The `Authorization` header of each request: answers challenges, fetches tokens, keeps them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_credentials::Credential;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Mutex;

use super::Error;
use super::asked::Asked;
use super::challenge::{Challenge, challenges};
use super::credentials::{Credentials, header_of};
use super::token;

/// What is missing where a password is wanted. The begin is containerd's.
const NO_CREDENTIALS: &str =
    "no basic auth credentials: it wants a user name and a password, log in to it first";
/// A token is not used in its last moments: clocks differ and requests take time.
const MARGIN: Duration = Duration::from_secs(5);

struct Known {
    header: HeaderValue,
    /// None: does not expire.
    until: Option<Instant>,
    /// What to answer again once it has expired.
    challenge: Challenge,
}

/// Authenticates the requests of one transfer.
pub(super) struct Authorizer {
    credentials: Arc<dyn Credentials>,
    reference: String,
    // Held while a token is fetched, so that many requests at once fetch one token.
    known: Mutex<HashMap<(String, String), Known>>,
}

impl Authorizer {
    pub(super) fn new(credentials: Arc<dyn Credentials>, reference: String) -> Self {
        Self { credentials, reference, known: Mutex::default() }
    }

    /// The header to send, as far as it is known without asking the registry for a challenge.
    pub(super) async fn header(&self, asked: &Asked<'_>) -> Result<Option<HeaderValue>, Error> {
        let mut known = self.known.lock().await;
        let Some(entry) = known.get(&asked.key()) else { return Ok(None) };
        if entry.until.is_none_or(|until| Instant::now() + MARGIN < until) {
            return Ok(Some(entry.header.clone()));
        }
        let challenge = entry.challenge.clone();
        let fresh = self.answer(asked, &challenge).await?;
        let header = fresh.header.clone();
        known.insert(asked.key(), fresh);
        Ok(Some(header))
    }

    /// The header to try after an answer 401 with these `headers` to a request that had `sent`.
    pub(super) async fn challenged(
        &self,
        asked: &Asked<'_>,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Error> {
        let mut known = self.known.lock().await;
        if let Some(entry) = known.get(&asked.key())
            && sent != Some(&entry.header)
        {
            // Somebody else was challenged meanwhile.
            return Ok(entry.header.clone());
        }
        let offered = challenges(headers);
        let Some(challenge) = offered.first() else {
            return Err(asked.refused("it offers no way to authenticate that is known here"));
        };
        let fresh = self.answer(asked, challenge).await?;
        if sent == Some(&fresh.header) {
            return Err(asked.refused(
                "user name or password refused, log in again or correct the docker configuration",
            ));
        }
        let header = fresh.header.clone();
        known.insert(asked.key(), fresh);
        Ok(header)
    }

    async fn answer(&self, asked: &Asked<'_>, challenge: &Challenge) -> Result<Known, Error> {
        let credential = self.credentials.lookup(&asked.endpoint.host, &self.reference).await?;
        let challenge = challenge.clone();
        if let Some(Credential::Header(_)) = &credential {
            let header = credential.as_ref().and_then(header_of);
            let header = header.ok_or_else(|| asked.refused("its header has bytes not allowed"))?;
            return Ok(Known { header, until: None, challenge });
        }
        match &challenge {
            Challenge::Basic => {
                let header = credential
                    .as_ref()
                    .and_then(header_of)
                    .ok_or_else(|| asked.refused(NO_CREDENTIALS))?;
                Ok(Known { header, until: None, challenge })
            }
            Challenge::Bearer { realm, service, scopes } => {
                let mut wanted = scopes.clone();
                for scope in asked.scope.split(' ') {
                    if !wanted.iter().any(|known| known == scope) {
                        wanted.push(scope.to_owned());
                    }
                }
                let request = token::Request {
                    realm,
                    service: service.as_deref(),
                    scopes: &wanted,
                    credential: credential.as_ref(),
                };
                let (header, lifetime) = token::fetch(asked, &request).await?;
                Ok(Known { header, until: Some(Instant::now() + lifetime), challenge })
            }
        }
    }
}
