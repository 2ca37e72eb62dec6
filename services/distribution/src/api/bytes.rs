//! Bytes over a stream: containerd's Data and WindowUpdate messages, with back-pressure both ways.

use std::io::{self, Read, Write};
use std::time::Duration;

use berth_proto::containerd::types::transfer::{Data, WindowUpdate};
use berth_proto::pack;
use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::streaming::Stream;
use super::wire;

/// How many bytes a client may be ahead of us. Its clients send 32 KiB at a time.
const WINDOW: i32 = 1 << 20;
/// The most bytes in one message; what containerd sends.
const MESSAGE: usize = 32 << 10;
/// How long a client may neither send nor take a byte. What it reads from may have to be made first.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A blocking thread's waits for a client: they end with the call, and in time.
pub struct Waits {
    handle: Handle,
    call: CancellationToken,
    patience: Duration,
}

impl Waits {
    /// Of a call that is over when its token is cancelled.
    pub fn new(call: CancellationToken) -> Self {
        Self { handle: Handle::current(), call, patience: PATIENCE }
    }

    fn wait<T>(&self, what: impl Future<Output = T>) -> io::Result<T> {
        let seconds = self.patience.as_secs();
        self.handle.block_on(async {
            tokio::select! {
                biased;
                // First: a client may send on and on.
                () = self.call.cancelled() => {
                    Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its call has ended"))
                }
                done = tokio::time::timeout(self.patience, what) => done.map_err(|_| {
                    let words = format!("its stream stood still for {seconds} s");
                    io::Error::new(io::ErrorKind::TimedOut, words)
                }),
            }
        })
    }
}

/// What a client sends, read on a blocking thread.
pub struct Reader {
    stream: Stream,
    waits: Waits,
    window: i32,
    rest: Bytes,
}

impl Reader {
    /// Of this stream.
    pub fn new(stream: Stream, waits: Waits) -> Self {
        Self { stream, waits, window: 0, rest: Bytes::new() }
    }

    /// Lets the client send more once half of what it may be ahead is used up.
    fn open_window(&mut self) -> io::Result<()> {
        if self.window > WINDOW / 2 {
            return Ok(());
        }
        let update = WINDOW.saturating_sub(self.window);
        // A client that has sent all may be gone already: its last messages still count.
        let sent = self.stream.to.send(Ok(pack(&WindowUpdate { update })));
        if self.waits.wait(sent)?.is_ok() {
            self.window = WINDOW;
        }
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            self.open_window()?;
            let Some(message) = self.waits.wait(self.stream.from.recv())? else { return Ok(0) };
            let message = message.map_err(broken)?;
            let Data { data } = wire::message(&message).map_err(io::Error::other)?;
            self.window = self.window.saturating_sub(i32::try_from(data.len()).unwrap_or(i32::MAX));
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
    waits: Waits,
    window: i64,
}

impl Writer {
    /// To this stream.
    pub fn new(stream: Stream, waits: Waits) -> Self {
        Self { stream, waits, window: 0 }
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
                let heard = self.waits.wait(self.stream.from.recv())?;
                heard.ok_or(io::ErrorKind::ConnectionAborted)?
            };
            let update: WindowUpdate =
                wire::message(&message.map_err(broken)?).map_err(io::Error::other)?;
            self.window = self.window.saturating_add(i64::from(update.update));
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
        let sent = self.waits.wait(self.stream.to.send(Ok(pack(&data))))?;
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
    use tokio::task::JoinHandle;

    use super::*;

    type Message = Result<prost_types::Any, Status>;

    /// Our end of a stream, and what its client sends to it and receives from it.
    fn stream() -> (Stream, mpsc::Sender<Message>, mpsc::Receiver<Message>) {
        let (client, from) = mpsc::channel(16);
        let (to, server) = mpsc::channel(16);
        (Stream { from, to }, client, server)
    }

    fn waits() -> (Waits, CancellationToken) {
        let call = CancellationToken::new();
        (Waits::new(call.clone()), call)
    }

    /// Runs what blocks beside the test.
    fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        tokio::task::spawn_blocking(work)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_sends_no_more_than_it_may() {
        let (ours, client, mut answers) = stream();
        let sender = beside(move || {
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
        let (waits, _call) = waits();
        let reader = beside(move || {
            let mut all = Vec::new();
            Reader::new(ours, waits).read_to_end(&mut all).unwrap();
            all.len()
        });
        sender.await.unwrap();
        assert_eq!(reader.await.unwrap(), 3 * WINDOW as usize);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn we_send_no_more_than_the_client_takes() {
        let (ours, client, mut answers) = stream();
        let (waits_of_one, _call) = waits();
        let writer = beside(move || Writer::new(ours, waits_of_one).write_all(&[1; 100]));
        client.send(Ok(pack(&WindowUpdate { update: 60 }))).await.unwrap();
        let size = |message: Option<Message>| {
            wire::message::<Data>(&message.unwrap().unwrap()).unwrap().data.len()
        };
        assert_eq!(size(answers.recv().await), 60);
        assert!(answers.try_recv().is_err());
        client.send(Ok(pack(&WindowUpdate { update: 60 }))).await.unwrap();
        assert_eq!(size(answers.recv().await), 40);
        writer.await.unwrap().unwrap();
        let (ours, client, _answers) = stream();
        drop(client);
        let (waits, _call) = waits();
        assert!(beside(move || Writer::new(ours, waits).write_all(b"x")).await.unwrap().is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_wait_outlasts_the_call_or_patience() {
        for cancelled in [true, false] {
            let (reads, _client, _answers) = stream();
            let (writes, _other, _more) = stream();
            let ((mut one, first), (mut other, second)) = (waits(), waits());
            if cancelled {
                first.cancel();
                second.cancel();
            } else {
                one.patience = Duration::from_millis(20);
                other.patience = Duration::from_millis(20);
            }
            let kind =
                if cancelled { io::ErrorKind::ConnectionAborted } else { io::ErrorKind::TimedOut };
            let read = beside(move || Reader::new(reads, one).read(&mut [0; 9]));
            assert_eq!(read.await.unwrap().unwrap_err().kind(), kind);
            let written = beside(move || Writer::new(writes, other).write(b"x"));
            assert_eq!(written.await.unwrap().unwrap_err().kind(), kind);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_sends_on_and_on_does_not_outlast_its_call() {
        let (ours, client, _answers) = stream();
        let (waits, call) = waits();
        client.send(Ok(pack(&Data { data: vec![7; 9].into() }))).await.unwrap();
        call.cancel();
        let read = beside(move || Reader::new(ours, waits).read(&mut [0; 9]));
        assert_eq!(read.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_client_is_too_far_ahead() {
        let (ours, client, mut answers) = stream();
        let (waits, _call) = waits();
        let mut reader = Reader::new(ours, waits);
        reader.window = i32::MIN;
        client.send(Ok(pack(&Data { data: vec![7].into() }))).await.unwrap();
        assert_eq!(beside(move || reader.read(&mut [0; 9])).await.unwrap().unwrap(), 1);
        let update: WindowUpdate = wire::message(&answers.recv().await.unwrap().unwrap()).unwrap();
        assert_eq!(update.update, i32::MAX);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_window_has_its_bounds() {
        let (ours, client, mut answers) = stream();
        let (waits, _call) = waits();
        for update in [i32::MIN, i32::MIN, i32::MAX, i32::MAX, i32::MAX] {
            client.send(Ok(pack(&WindowUpdate { update }))).await.unwrap();
        }
        let written = beside(move || Writer::new(ours, waits).write(&[0; 2 * MESSAGE]));
        assert_eq!(written.await.unwrap().unwrap(), MESSAGE);
        answers.recv().await.unwrap().unwrap();
    }
}
