use http_body_util::BodyExt;
use rstest::rstest;

use super::*;

fn asks(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get("/exec/x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

const SPDY: [(&str, &str); 2] = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "SPDY/3.1")];

async fn refused(request: &Request<()>, ports: bool) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = negotiate(request, ports).unwrap_err().into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(text.to_vec()).unwrap())
}

#[test]
fn the_clients_order_decides_also_in_lists() {
    let mut headers = SPDY.to_vec();
    headers.push(("X-Stream-Protocol-Version", "v9.channel.k8s.io, v3.channel.k8s.io"));
    headers.push(("X-Stream-Protocol-Version", "v4.channel.k8s.io"));
    let (spoken, answer) = negotiate(&asks(&headers), false).unwrap();
    assert_eq!(spoken, Spoken::SpdyCommand { dialect: Dialect::Text, resizes: true });
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["x-stream-protocol-version"], "v3.channel.k8s.io");
}

#[tokio::test]
async fn refusals_are_the_known_ones() {
    let (status, _, text) = refused(&asks(&SPDY), false).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(
        text,
        "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with 2 headers"
    );

    let version = [("X-Stream-Protocol-Version", "v4.channel.k8s.io")];
    let (status, _, text) = refused(&asks(&version), false).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.starts_with("unable to upgrade: missing upgrade headers in request"), "{text}");

    let (status, headers, text) = refused(&asks(&[&SPDY[..], &version].concat()), true).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(headers["x-accepted-stream-protocol-versions"], "portforward.k8s.io");
    assert_eq!(
        text,
        "unable to upgrade: unable to negotiate protocol: client supports [v4.channel.k8s.io], \
         server accepts [portforward.k8s.io]"
    );
}

#[rstest]
#[case("", false, Some(""))]
#[case("v5.channel.k8s.io, v4.channel.k8s.io", false, Some("v5.channel.k8s.io"))]
#[case("SPDY/3.1+portforward.k8s.io", true, Some("SPDY/3.1+portforward.k8s.io"))]
#[case("v5.channel.k8s.io", true, None)]
#[case("chat", false, None)]
fn websockets(#[case] asked: &str, #[case] ports: bool, #[case] chosen: Option<&str>) {
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", asked),
    ];
    let answer = negotiate(&asks(&headers), ports);
    match chosen {
        Some(chosen) => {
            let (_, answer) = answer.unwrap();
            // RFC 6455, section 1.3.
            assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            let said = answer.headers().get("sec-websocket-protocol");
            assert_eq!(said.map_or("", |said| said.to_str().unwrap()), chosen);
        }
        None => assert_eq!(answer.unwrap_err().status(), StatusCode::FORBIDDEN),
    }
    assert_eq!(
        negotiate(&asks(&headers[..2]), ports).unwrap_err().status(),
        StatusCode::BAD_REQUEST
    );
}
