//! From a request to what will be spoken on its connection. Must not know: tokens, sessions.
//!
//! Owns: the answers that refuse or upgrade, as clients know them.

mod spdy;
mod websocket;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;

use crate::status::Dialect;
use crate::websocket::Form;

/// What an answer is.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What is spoken after the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// SPDY with the streams of a command; `resizes`: its terminal has a stream for sizes.
    SpdyCommand { dialect: Dialect, resizes: bool },
    /// SPDY with pairs of streams for connections.
    SpdyPorts,
    /// The same, inside a WebSocket.
    TunnelPorts,
    /// A WebSocket with the channels of a command; `closes`: they can be closed one by one.
    ChannelCommand { dialect: Dialect, form: Form, closes: bool },
    /// A WebSocket with two channels for each port.
    ChannelPorts { form: Form },
}

/// What is spoken and the answer that says so, or the answer that refuses. `ports`: it is for forwarding.
pub(crate) fn negotiate<B>(
    request: &Request<B>,
    ports: bool,
) -> Result<(Spoken, Answer), Box<Answer>> {
    let headers = request.headers();
    if has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
    {
        websocket::negotiate(request, ports)
    } else {
        spdy::negotiate(headers, ports)
    }
}

/// The first answer that everything unknown gets.
pub(crate) fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
}

fn plain(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    // A connection has one request.
    answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    answer
}

/// All values of a header, split at commas.
fn tokens(headers: &HeaderMap, name: impl header::AsHeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests;
