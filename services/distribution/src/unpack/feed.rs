//! The pipe through which a layer reaches bundle while it arrives.
//!
//! A failing reader never fails the writer: the blob's file is what counts, and the layer is
//! applied from there instead.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;

/// As much as an unprivileged user may have (`/proc/sys/fs/pipe-max-size`).
const CAPACITY: usize = 1 << 20;
/// How long the reader may take nothing before the writer goes on without it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The writing end.
pub struct Feed {
    pipe: Sender,
    whole: Arc<AtomicBool>,
    patience: Duration,
}

/// Whether the reader was given every byte; false until the feed was closed in order.
#[derive(Clone)]
pub struct Fed(Arc<AtomicBool>);

impl Fed {
    pub(super) fn whole(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The reader is gone or takes nothing.
#[derive(Debug)]
pub struct Broken;

impl Feed {
    /// A pipe: the end to hand to bundle, and the feed.
    pub(super) fn new() -> io::Result<(OwnedFd, Self, Fed)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // A user over the soft limit of pipe memory keeps the small pipe, which is only slower.
        let _ = fcntl_setpipe_size(&write, CAPACITY);
        // The ends are two open files: the reader's stays blocking.
        rustix::io::ioctl_fionbio(&write, true)?;
        let whole = Arc::new(AtomicBool::new(false));
        let fed = Fed(Arc::clone(&whole));
        let pipe = Sender::from_owned_fd(write)?;
        Ok((read, Self { pipe, whole, patience: PATIENCE }, fed))
    }

    /// Writes all of it. Waits for as long as the reader is busy, within the bound.
    ///
    /// # Errors
    /// [`Broken`]: the feed is of no more use.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match tokio::time::timeout(self.patience, self.pipe.write(bytes)).await {
                Ok(Ok(written)) if written > 0 => bytes = &bytes[written..],
                _ => return Err(Broken),
            }
        }
        Ok(())
    }

    /// Ends the layer: the reader sees its end.
    pub fn finish(self) {
        self.whole.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn all_bytes_come_through_a_slow_reader() {
        let (read, mut feed, fed) = Feed::new().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            std::fs::File::from(read).read_to_end(&mut all).unwrap();
            all.len()
        });
        for _ in 0..5 {
            feed.write(&vec![7; CAPACITY]).await.unwrap();
        }
        assert!(!fed.whole());
        feed.finish();
        assert!(fed.whole());
        assert_eq!(reader.join().unwrap(), 5 * CAPACITY);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_or_stuck_is_given_up() {
        let (read, mut feed, _) = Feed::new().unwrap();
        drop(read);
        assert!(feed.write(b"x").await.is_err());
        let (_read, mut feed, fed) = Feed::new().unwrap();
        feed.patience = Duration::from_millis(20);
        assert!(feed.write(&vec![0; 4 * CAPACITY]).await.is_err());
        assert!(!fed.whole());
    }
}
