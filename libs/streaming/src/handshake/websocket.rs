//! The upgrade to WebSocket.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Answer, Spoken, plain, tokens};
use crate::status::Dialect;
use crate::websocket::Form;

/// What a client may ask for a command, and what it means. The empty name is that of asking for nothing.
const COMMANDS: [(&str, Spoken); 6] = [
    ("", command(Dialect::Text, Form::Binary, false)),
    ("channel.k8s.io", command(Dialect::Text, Form::Binary, false)),
    ("base64.channel.k8s.io", command(Dialect::Text, Form::Base64, false)),
    ("v4.channel.k8s.io", command(Dialect::Status, Form::Binary, false)),
    ("v4.base64.channel.k8s.io", command(Dialect::Status, Form::Base64, false)),
    ("v5.channel.k8s.io", command(Dialect::Status, Form::Binary, true)),
];

/// The same for ports.
const PORTS: [(&str, Spoken); 4] = [
    ("", Spoken::ChannelPorts { form: Form::Binary }),
    ("v4.channel.k8s.io", Spoken::ChannelPorts { form: Form::Binary }),
    ("v4.base64.channel.k8s.io", Spoken::ChannelPorts { form: Form::Base64 }),
    ("SPDY/3.1+portforward.k8s.io", Spoken::TunnelPorts),
];

const fn command(dialect: Dialect, form: Form, closes: bool) -> Spoken {
    Spoken::ChannelCommand { dialect, form, closes }
}

pub(super) fn negotiate<B>(
    request: &Request<B>,
    ports: bool,
) -> Result<(Spoken, Answer), Box<Answer>> {
    let headers = request.headers();
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let (&Method::GET, Some(key), Some(b"13")) = (request.method(), key, version) else {
        let text = "unable to upgrade: a WebSocket is asked for by GET, version 13 and a key";
        return Err(Box::new(plain(StatusCode::BAD_REQUEST, text.to_owned())));
    };
    let ours: &[(&'static str, Spoken)] = if ports { &PORTS } else { &COMMANDS };
    let mut asked: Vec<&str> = tokens(headers, header::SEC_WEBSOCKET_PROTOCOL).collect();
    if asked.is_empty() {
        asked.push("");
    }
    let common = asked.iter().find_map(|asked| ours.iter().find(|(name, _)| name == asked));
    let Some((protocol, spoken)) = common else {
        let text = format!("unable to upgrade: none of the protocols {asked:?} is served");
        return Err(Box::new(plain(StatusCode::FORBIDDEN, text)));
    };
    let Ok(accepted) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) else {
        return Err(Box::new(plain(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: a bad key".to_owned(),
        )));
    };
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let said = answer.headers_mut();
    said.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    said.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    said.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    if !protocol.is_empty() {
        said.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok((*spoken, answer))
}
