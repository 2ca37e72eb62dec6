//! What goes over the wire to a registry, for whoever wants to see it.

use std::fmt::Write;

use http::{HeaderMap, Version};
use reqwest::{Client, RequestBuilder, Response};

/// Takes what is said between a registry and us, as text. Never waits.
pub trait Dump: Send + Sync {
    /// The head of a request or of an answer, or a document.
    fn tell(&self, text: String);
}

/// Headers whose values are nobody else's business.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Sends a request, telling of it and of its answer.
pub(super) async fn send(
    client: &Client,
    request: RequestBuilder,
    dump: Option<&dyn Dump>,
) -> reqwest::Result<Response> {
    let Some(dump) = dump else { return request.send().await };
    let request = request.build()?;
    let url = request.url();
    let query = url.query().map_or(String::new(), |query| format!("?{query}"));
    let mut text = format!("{} {}{query} HTTP/1.1\r\n", request.method(), url.path());
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let _ = write!(text, "Host: {host}{port}\r\n");
    headers(&mut text, request.headers());
    dump.tell(text);
    let response = client.execute(request).await?;
    let version = match response.version() {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    };
    let mut text = format!("{version} {}\r\n", response.status());
    headers(&mut text, response.headers());
    dump.tell(text);
    Ok(response)
}

fn headers(text: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        let value = match value.to_str() {
            _ if SECRET.contains(&name.as_str()) => "REDACTED",
            Ok(value) => value,
            Err(_) => "...",
        };
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
}
