//! The upgrade to SPDY/3.1.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::{Answer, Spoken, has_token, plain, tokens};
use crate::status::Dialect;

const PROTOCOL: &str = "SPDY/3.1";
const ASKED: &str = "x-stream-protocol-version";
const ACCEPTED: &str = "x-accepted-stream-protocol-versions";

const COMMANDS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const PORTS: [&str; 1] = ["portforward.k8s.io"];

fn spoken(protocol: &str) -> Spoken {
    let command = |dialect, resizes| Spoken::SpdyCommand { dialect, resizes };
    match protocol {
        "v4.channel.k8s.io" => command(Dialect::Status, true),
        "v3.channel.k8s.io" => command(Dialect::Text, true),
        "portforward.k8s.io" => Spoken::SpdyPorts,
        _ => command(Dialect::Text, false),
    }
}

pub(super) fn negotiate(headers: &HeaderMap, ports: bool) -> Result<(Spoken, Answer), Box<Answer>> {
    let ours: &[&str] = if ports { &PORTS } else { &COMMANDS };
    let asked: Vec<&str> = tokens(headers, ASKED).collect();
    if asked.is_empty() {
        let text = format!(
            "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with {} headers",
            headers.len()
        );
        return Err(Box::new(plain(StatusCode::BAD_REQUEST, text)));
    }
    let Some(protocol) = asked.iter().find_map(|asked| ours.iter().find(|ours| *ours == asked))
    else {
        return Err(Box::new(no_common(&asked, ours)));
    };
    if !has_token(headers, header::CONNECTION, "upgrade")
        || !has_token(headers, header::UPGRADE, PROTOCOL)
    {
        let text = "unable to upgrade: missing upgrade headers in request".to_owned();
        return Err(Box::new(plain(StatusCode::BAD_REQUEST, text)));
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let said = answer.headers_mut();
    said.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    said.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    said.insert(ASKED, HeaderValue::from_static(protocol));
    Ok((spoken(protocol), answer))
}

fn no_common(asked: &[&str], ours: &[&'static str]) -> Answer {
    let text = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
        asked.join(" "),
        ours.join(" ")
    );
    let mut answer = plain(StatusCode::FORBIDDEN, text);
    for protocol in ours {
        answer.headers_mut().append(ACCEPTED, HeaderValue::from_static(protocol));
    }
    answer
}
