//! As much HTTP/1.1 as the servers of tests need: one request per connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use anyhow::{Context, Result};

/// The head of a request or an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head(pub(crate) String);

impl Head {
    /// Reads up to the empty line; `None` when the other side sent nothing more.
    pub(crate) fn read(from: &mut impl Read) -> Option<Self> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            from.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        String::from_utf8(head).ok().map(Self)
    }

    /// A word of the first line: method, path and version, or version, status and reason.
    pub(crate) fn word(&self, number: usize) -> &str {
        self.0.split_whitespace().nth(number).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The length of the body that follows.
    pub(crate) fn length(&self) -> usize {
        self.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// With this header instead of those of its name.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let other = |line: &&str| {
            line.split_once(':').is_none_or(|(key, _)| !key.eq_ignore_ascii_case(name))
        };
        let lines: Vec<_> = self.0.trim_end().split("\r\n").filter(other).collect();
        Self(format!("{}\r\n{name}: {value}\r\n\r\n", lines.join("\r\n")))
    }

    /// With another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self(self.0.replacen(self.word(1), path, 1))
    }
}

/// Serves every connection on a loopback port by a thread of its own; answers the address.
///
/// # Errors
/// When no port is free.
pub(crate) fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || {
                if !refuses_tls(&client) {
                    each(client);
                }
            });
        }
    });
    Ok(address)
}

/// Whether the client wants TLS; it then hears in clear that there is none, as of Go's servers.
fn refuses_tls(mut client: &TcpStream) -> bool {
    let mut first = [0];
    let handshake = client.peek(&mut first).is_ok_and(|count| count == 1) && first[0] == 0x16;
    if handshake {
        // What is not read when the connection is closed would reset it before the answer is there.
        let _ = client.read(&mut [0; 8192]);
        let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        let _ = client.shutdown(Shutdown::Write);
        let _ = io::copy(&mut client, &mut io::sink());
    }
    handshake
}

/// Answers with JSON and ends the connection.
pub(crate) fn answer(client: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )?;
    client.shutdown(Shutdown::Write)
}
