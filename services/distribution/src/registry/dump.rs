//! What goes over the wire to a registry, for whoever wants to see it.

use std::fmt::Write;

use http::header::LOCATION;
use http::{HeaderMap, Version};
use reqwest::{Client, RequestBuilder, Response, Url};

use super::answer::{bare, public};

/// Takes what is said between a registry and us, as text. Never waits.
pub trait Dump: Send + Sync {
    /// The head of a request or of an answer, or a document.
    fn tell(&self, text: String);
}

/// Headers whose values let nobody in anywhere. Of all others, which whoever asks or the registry may
/// have made up, the names alone are told.
const HARMLESS: [&str; 25] = [
    "accept",
    "accept-encoding",
    "accept-ranges",
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "docker-content-digest",
    "docker-distribution-api-version",
    "docker-upload-uuid",
    "etag",
    "host",
    "last-modified",
    "location",
    "oci-subject",
    "range",
    "retry-after",
    "server",
    "transfer-encoding",
    "user-agent",
    "vary",
];
/// What says how to log in, not with what.
const CHALLENGE: &str = "www-authenticate";

/// Sends a request, telling of it and of its answer. Addresses are told without what may let others
/// in; of headers that are not known to be harmless, and of those in `configured`, the names.
pub(super) async fn send(
    client: &Client,
    request: RequestBuilder,
    configured: &HeaderMap,
    dump: Option<&dyn Dump>,
) -> reqwest::Result<Response> {
    let Some(dump) = dump else { return request.send().await };
    let request = request.build()?;
    let (asked, url) = (request.url().clone(), bare(request.url()));
    let query = url.query().map_or(String::new(), |query| format!("?{query}"));
    let mut text = format!("{} {}{query} HTTP/1.1\r\n", request.method(), url.path());
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let _ = write!(text, "Host: {host}{port}\r\n");
    headers(&mut text, request.headers(), |name, value| match configured.contains_key(name) {
        true => "REDACTED".to_owned(),
        false => value.to_owned(),
    });
    dump.tell(text);
    let response = client.execute(request).await?;
    let version = match response.version() {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    };
    let mut text = format!("{version} {}\r\n", response.status());
    headers(&mut text, response.headers(), |name, value| match name == LOCATION.as_str() {
        // An upload's address often is all that is needed to go on with it.
        true => asked.join(value).map_or_else(|_| "...".to_owned(), |url: Url| public(&url)),
        false => value.to_owned(),
    });
    dump.tell(text);
    Ok(response)
}

/// `told` makes of a header's name and value what is told of it.
fn headers(text: &mut String, headers: &HeaderMap, told: impl Fn(&str, &str) -> String) {
    for (name, value) in headers {
        let value = match value.to_str() {
            _ if name != CHALLENGE && !HARMLESS.contains(&name.as_str()) => "REDACTED".to_owned(),
            Ok(value) => told(name.as_str(), value),
            Err(_) => "...".to_owned(),
        };
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_harmless_is_told() {
        let mut all = HeaderMap::new();
        for (name, value) in [
            ("accept", "text/plain"),
            ("authorization", "Basic secret"),
            ("X-Registry-Auth", "secret"),
            ("x-amz-security-token", "secret"),
            ("set-cookie", "secret"),
            ("www-authenticate", "Bearer realm=\"r\""),
            ("location", "/elsewhere?secret"),
        ] {
            all.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let mut text = String::new();
        headers(&mut text, &all, |name, value| match name {
            "location" => "/elsewhere".to_owned(),
            _ => value.to_owned(),
        });
        assert!(!text.contains("secret"), "{text}");
        for line in ["accept: text/plain", "x-registry-auth: REDACTED", "www-authenticate: Bearer"]
        {
            assert!(text.contains(line), "{text}");
        }
    }
}
