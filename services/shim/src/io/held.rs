//! What is printed while runc works: it is at the other end of a process's pipes until that runs.
//!
//! What runc says of a failure is in its answer, and is nobody's output; it may be longer than a pipe, and runc
//! does not end before somebody has read it. So it is read from the beginning, and kept back until it is known
//! whose it is.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

use super::copy::BUFFER;
use super::sink::Sink;
use crate::log;

/// The most that is kept back of an output, in bytes: less than a client may be behind that hears it at once.
const MOST: usize = 512 << 10;

/// Who may print while runc works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// runc alone, as the process waits for its start. What is too much is dropped.
    Runtime,
    /// The process, too, of which nothing may be lost. What is too much is passed on at once.
    Process,
}

/// An output that is not copied yet.
pub(super) struct Held {
    pub(super) from: pipe::Receiver,
    pub(super) sink: Sink,
    pub(super) name: String,
    pub(super) said: Vec<u8>,
    dropped: u64,
    ended: bool,
}

impl Held {
    pub(super) fn new(from: pipe::Receiver, sink: Sink, name: String) -> Held {
        Held { from, sink, name, said: Vec::new(), dropped: 0, ended: false }
    }

    /// Tells of what was dropped, as the process runs whose output it would have become.
    pub(super) fn account(&self) {
        if self.dropped > 0 {
            let (name, dropped) = (&self.name, self.dropped);
            log::warn(format_args!(
                "{dropped} bytes that the runtime printed as {name} are dropped"
            ));
        }
    }

    /// Ready when no more can be kept back.
    fn poll(&mut self, context: &mut Context<'_>, speaker: Speaker) -> Poll<()> {
        while !self.ended {
            let mut buffer = [0; BUFFER];
            let mut read = ReadBuf::new(&mut buffer);
            let done = ready!(Pin::new(&mut self.from).poll_read(context, &mut read));
            let piece = read.filled();
            self.ended = done.is_err() || piece.is_empty();
            let fits = match speaker {
                Speaker::Runtime => piece.len().min(MOST - self.said.len()),
                Speaker::Process => piece.len(),
            };
            self.said.extend_from_slice(&piece[..fits]);
            self.dropped += (piece.len() - fits) as u64;
            if speaker == Speaker::Process && self.said.len() >= MOST {
                return Poll::Ready(());
            }
        }
        // Nothing wakes it any more, but what else is waited for.
        Poll::Pending
    }
}

/// Reads all of them; returns the place of one of which no more can be kept back.
pub(super) async fn full(held: &mut [Held], speaker: Speaker) -> usize {
    poll_fn(|context| {
        let mut all = held.iter_mut();
        match all.position(|one| one.poll(context, speaker).is_ready()) {
            Some(place) => Poll::Ready(place),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::io::sink::Log;

    /// Writes so much in the background, reads as long as that goes on or until it is full; answers that and what
    /// is held.
    async fn heard(count: usize, speaker: Speaker) -> (bool, Held) {
        let (mut to, from) = pipe::pipe().unwrap();
        let mut held = [Held::new(from, Sink::Log(Log::Discarded, None), "x".into())];
        let is_full = tokio::select! {
            written = async { to.write_all(&vec![b'x'; count]).await } => {
                written.unwrap();
                false
            }
            place = full(&mut held, speaker) => place == 0,
        };
        let [held] = held;
        (is_full, held)
    }

    #[tokio::test]
    async fn of_a_runtime_the_first_is_kept_and_nothing_holds_it_up() {
        let (is_full, held) = heard(3 * MOST, Speaker::Runtime).await;
        assert!(!is_full);
        assert_eq!(held.said.len(), MOST);
        assert!(held.dropped > 0);
    }

    #[tokio::test]
    async fn of_a_process_nothing_is_dropped() {
        let (is_full, held) = heard(3 * MOST, Speaker::Process).await;
        assert!(is_full && held.said.len() >= MOST && held.said.len() < MOST + BUFFER);
        assert_eq!(held.dropped, 0);
        let (is_full, held) = heard(100_000, Speaker::Process).await;
        // The rest is in the pipe.
        assert!(!is_full && held.said.len() <= 100_000);
    }
}
