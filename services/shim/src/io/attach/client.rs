//! One client that is attached.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};

use super::frame::{DATA, END_OF_STDIN, MOST, STDERR, STDIN, STDOUT};
use super::hub::Hub;
use super::input::Input;
use super::queue::Queue;
use super::sent_away;
use crate::io::copy::BUFFER;

/// How long the first byte may take.
const HELLO: Duration = Duration::from_secs(10);
/// How long the process may take to read what a client has sent that is gone.
const GONE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 30_000 });

/// Serves a client until it is gone or the process is deleted.
pub(super) async fn serve(mut stream: UnixStream, hub: &Hub, input: &Input) {
    let Ok(Ok(flags)) = tokio::time::timeout(HELLO, stream.read_u8()).await else { return };
    if flags & !(STDIN | STDOUT | STDERR) != 0 {
        return sent_away("it takes part in what there is not");
    }
    let seat = hub.join(flags);
    let (mut from, mut to) = stream.split();
    let mut speaking = Speaking { open: flags & STDIN != 0, input };
    tokio::select! {
        () = read(&mut from, &mut speaking) => {}
        () = write(&mut to, &seat.queue) => {}
        () = seat.queue.cut() => sent_away("it does not keep up with the output"),
    }
}

/// A client's part in standard input, which ends with the client at the latest.
struct Speaking<'a> {
    open: bool,
    input: &'a Input,
}

impl Speaking<'_> {
    fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            self.input.client_ended();
        }
    }
}

impl Drop for Speaking<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends what there is until all of it is sent.
async fn write(to: &mut WriteHalf<'_>, queue: &Queue) {
    while let Some(frame) = queue.next().await {
        if to.write_all(&frame).await.is_err() {
            // It hears nothing any more. What it said before is still read, to its end.
            std::future::pending().await
        }
    }
}

/// Passes on what the client says until it is gone, or says what it must not.
async fn read(from: &mut ReadHalf<'_>, speaking: &mut Speaking<'_>) {
    let mut buffer = Vec::new();
    loop {
        let Ok(kind) = from.read_u8().await else { return };
        let Ok(length) = from.read_u32().await else { return };
        match (kind, length as usize) {
            (DATA, length @ 0..=MOST) if speaking.open => {
                buffer.resize(BUFFER, 0);
                if data(from, length, &mut buffer, speaking.input).await.is_none() {
                    return;
                }
            }
            (END_OF_STDIN, 0) if speaking.open => {
                speaking.end();
                buffer = Vec::new();
            }
            _ => return sent_away(&format!("frame of kind {kind} and {length} bytes")),
        }
    }
}

/// Passes on so many bytes; none if the client is gone before.
async fn data(
    from: &mut ReadHalf<'_>,
    length: usize,
    buffer: &mut [u8],
    input: &Input,
) -> Option<()> {
    let mut left = length;
    while left > 0 {
        let most = left.min(buffer.len());
        let count = from.read(&mut buffer[..most]).await.ok().filter(|count| *count > 0)?;
        tokio::select! {
            () = input.write(&buffer[..count]) => left -= count,
            () = gone(from) => return None,
        }
    }
    Some(())
}

/// Returns some time after the client has closed its side.
async fn gone(from: &ReadHalf<'_>) {
    // This interest ends with reading alone: what there is to read does not matter here.
    let _ = from.ready(Interest::PRIORITY).await;
    tokio::time::sleep(GONE).await;
}
