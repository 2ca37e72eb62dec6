//! A client that speaks HTTP/2 byte by byte, for what well-behaved clients do not do.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
/// Headers, of a request or an answer.
pub const HEADERS: u8 = 1;
/// The end of a stream before its time.
pub const RST_STREAM: u8 = 3;
/// The error code for a call that is taken back.
const CANCEL: u32 = 8;

/// A connection.
pub struct Raw(UnixStream);

impl Raw {
    pub async fn connect(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut raw = Self(stream);
        raw.send(SETTINGS, 0, 0, &[]).await;
        raw
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }

    /// Begins a call under a name.
    pub async fn call(&mut self, stream: u32, path: &str, authority: Option<&str>) {
        let mut headers = vec![(":method", "POST"), (":scheme", "http"), (":path", path)];
        headers.extend(authority.map(|authority| (":authority", authority)));
        headers.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        // Literals without an index and without compression; names and values are short.
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let block: Vec<u8> = headers
            .iter()
            .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
            .collect();
        self.send(HEADERS, 4, stream, &block).await;
    }

    /// Sends a message of a call, maybe its last.
    pub async fn message(&mut self, stream: u32, message: &[u8], last: bool) {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let framed = [&[0], &length[..], message].concat();
        self.send(DATA, u8::from(last), stream, &framed).await;
    }

    /// Takes a call back.
    pub async fn cancel(&mut self, stream: u32) {
        self.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).await;
    }

    /// The kind of the frame that answers a call: headers, or a reset.
    pub async fn answer(&mut self, stream: u32) -> u8 {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, _, id @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            if u32::from_be_bytes(id) == stream && matches!(kind, HEADERS | RST_STREAM) {
                return kind;
            }
        }
    }
}
