//! What a registry's answer says: its body within bounds, its error.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use reqwest::{Response, Url};
use serde::Deserialize;

use super::Error;

/// The most of an error's body that is looked at.
const MAX_ERROR_BODY: u64 = 16 << 10;

/// An answer's status and the first error of its body as [`Error::Status`].
pub(super) async fn answer_of(step: &str, method: Method, response: Response) -> Error {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let (status, url) = (response.status(), public(response.url()));
    let wait = Duration::from_secs(5);
    let body = read_bounded(response, "error", MAX_ERROR_BODY, step, &url, wait).await;
    // The status is the error; a body that cannot be read only makes it less telling.
    let first = body
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Body>(&bytes).ok())
        .and_then(|body| body.errors.into_iter().next());
    let detail = first.map_or(String::new(), |item| format!(": {}: {}", item.code, item.message));
    Error::Status { step: step.to_owned(), method, url, status, detail }
}

/// An address as it may be told: of its query only for which registry it was asked.
pub(super) fn public(url: &Url) -> String {
    bare(url).into()
}

/// The same, in its parts.
pub(super) fn bare(url: &Url) -> Url {
    let mut public = url.clone();
    public.set_query(None);
    public.set_fragment(None);
    let _ = public.set_password(None);
    let _ = public.set_username("");
    if let Some((key, registry)) = url.query_pairs().find(|(key, _)| key == "ns") {
        public.query_pairs_mut().append_pair(&key, &registry);
    }
    public
}

/// What a registry answered, without what was asked.
pub(super) fn words(answer: &Error) -> String {
    match answer {
        Error::Status { status, detail, .. } => format!("{status}{detail}"),
        other => other.to_string(),
    }
}

/// Reads a whole body of at most `limit` bytes, none of whose pauses is longer than `idle`.
pub(super) async fn read_bounded(
    mut response: Response,
    what: &str,
    limit: u64,
    step: &str,
    host: &str,
    idle: Duration,
) -> Result<Bytes, Error> {
    let too_large = |size| Error::TooLarge { what: what.to_owned(), size, limit };
    if let Some(length) = response.content_length()
        && length > limit
    {
        return Err(too_large(length));
    }
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| {
            Error::Stalled { step: step.to_owned(), host: host.to_owned(), seconds: idle.as_secs() }
        })?;
        let chunk = chunk.map_err(|error| Error::Connection {
            step: step.to_owned(),
            host: host.to_owned(),
            source: error.without_url(),
        })?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        body.extend_from_slice(&chunk);
        if body.len() as u64 > limit {
            return Err(too_large(body.len() as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_without_secrets() {
        let told = |url: &str| public(&url.parse().unwrap());
        assert_eq!(
            told("https://me:pw@h:1/v2/x?ns=r%3A2&_state=secret#y"),
            "https://h:1/v2/x?ns=r%3A2"
        );
        assert_eq!(told("http://h/v2/"), "http://h/v2/");
    }
}
