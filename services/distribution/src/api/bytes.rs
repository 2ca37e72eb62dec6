//! Bytes over a stream: containerd's Data and WindowUpdate messages, with back-pressure both ways.

use std::io::{self, Read, Write};

use berth_proto::containerd::types::transfer::{Data, WindowUpdate};
use berth_proto::pack;
use bytes::{Buf, Bytes};
use tonic::Status;

use super::streaming::Stream;
use super::wire;

/// How many bytes a client may be ahead of us. Its clients send 32 KiB at a time.
const WINDOW: i32 = 1 << 20;
/// The most bytes in one message; what containerd sends.
const MESSAGE: usize = 32 << 10;

/// What a client sends, read on a blocking thread.
pub struct Reader {
    stream: Stream,
    window: i32,
    rest: Bytes,
}

impl Reader {
    /// Of this stream.
    pub fn new(stream: Stream) -> Self {
        Self { stream, window: 0, rest: Bytes::new() }
    }

    /// Lets the client send more once half of what it may be ahead is used up.
    fn open_window(&mut self) {
        if self.window > WINDOW / 2 {
            return;
        }
        let update = WINDOW - self.window;
        // A client that has sent all may be gone already: its last messages still count.
        if self.stream.to.blocking_send(Ok(pack(&WindowUpdate { update }))).is_ok() {
            self.window = WINDOW;
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            self.open_window();
            let Some(message) = self.stream.from.blocking_recv() else { return Ok(0) };
            let message = message.map_err(broken)?;
            let Data { data } = wire::message(&message).map_err(io::Error::other)?;
            self.window -= i32::try_from(data.len()).unwrap_or(self.window);
            self.rest = data;
        }
        let count = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// What a client receives, written on a blocking thread.
pub struct Writer {
    stream: Stream,
    window: i64,
}

impl Writer {
    /// To this stream.
    pub fn new(stream: Stream) -> Self {
        Self { stream, window: 0 }
    }

    /// Waits until the client takes more, and hears what it said meanwhile.
    fn await_window(&mut self) -> io::Result<()> {
        loop {
            let message = if self.window > 0 {
                match self.stream.from.try_recv() {
                    Ok(message) => message,
                    Err(_) => return Ok(()),
                }
            } else {
                self.stream.from.blocking_recv().ok_or(io::ErrorKind::ConnectionAborted)?
            };
            let update: WindowUpdate =
                wire::message(&message.map_err(broken)?).map_err(io::Error::other)?;
            self.window += i64::from(update.update);
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.await_window()?;
        let window = usize::try_from(self.window).unwrap_or(MESSAGE);
        let count = bytes.len().min(MESSAGE).min(window);
        let data = Data { data: Bytes::copy_from_slice(&bytes[..count]) };
        let sent = self.stream.to.blocking_send(Ok(pack(&data)));
        sent.map_err(|_| io::ErrorKind::ConnectionAborted)?;
        self.window -= i64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(status: Status) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, status.message().to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    type Message = Result<prost_types::Any, Status>;

    /// Our end of a stream, and what its client sends to it and receives from it.
    fn stream() -> (Stream, mpsc::Sender<Message>, mpsc::Receiver<Message>) {
        let (client, from) = mpsc::channel(16);
        let (to, server) = mpsc::channel(16);
        (Stream { from, to }, client, server)
    }

    #[test]
    fn a_client_sends_no_more_than_it_may() {
        let (ours, client, mut answers) = stream();
        let sender = std::thread::spawn(move || {
            let (mut window, mut left) = (0_i64, 3 * WINDOW as usize);
            while left > 0 {
                while window <= 0 {
                    let message = answers.blocking_recv().unwrap().unwrap();
                    let update: WindowUpdate = wire::message(&message).unwrap();
                    window += i64::from(update.update);
                    assert!(window <= i64::from(WINDOW));
                }
                let count = left.min(MESSAGE).min(window as usize);
                client.blocking_send(Ok(pack(&Data { data: vec![7; count].into() }))).unwrap();
                window -= count as i64;
                left -= count;
            }
        });
        let mut all = Vec::new();
        Reader::new(ours).read_to_end(&mut all).unwrap();
        sender.join().unwrap();
        assert_eq!(all.len(), 3 * WINDOW as usize);
    }

    #[test]
    fn we_send_no_more_than_the_client_takes() {
        let (ours, client, mut answers) = stream();
        let writer = std::thread::spawn(move || Writer::new(ours).write_all(&[1; 100]));
        client.blocking_send(Ok(pack(&WindowUpdate { update: 60 }))).unwrap();
        let size = |message: Option<Result<prost_types::Any, Status>>| {
            wire::message::<Data>(&message.unwrap().unwrap()).unwrap().data.len()
        };
        assert_eq!(size(answers.blocking_recv()), 60);
        assert!(answers.try_recv().is_err());
        client.blocking_send(Ok(pack(&WindowUpdate { update: 60 }))).unwrap();
        assert_eq!(size(answers.blocking_recv()), 40);
        writer.join().unwrap().unwrap();
        let (ours, client, _answers) = stream();
        drop(client);
        assert!(Writer::new(ours).write_all(b"x").is_err());
    }
}
