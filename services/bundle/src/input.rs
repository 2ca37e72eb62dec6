//! A layer's bytes from a descriptor that somebody else fills.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the other side may say nothing. Distribution gives up on a stalled registry before.
const IDLE: Timespec = Timespec { tv_sec: 600, tv_nsec: 0 };

/// Reads a pipe or file; an idle pipe ends in an error instead of holding a thread for ever.
pub struct Patient {
    file: File,
    waited: Waited,
}

/// For how long a reader has waited. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Waited(Arc<AtomicU64>);

impl Waited {
    /// So long, until now.
    #[must_use]
    pub fn so_far(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn since(&self, began: Instant) {
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Patient {
    /// Reads `file`.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, waited: Waited::default() }
    }

    /// How long it waits for the other side.
    #[must_use]
    pub fn waited(&self) -> Waited {
        self.waited.clone()
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        let ready = poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&IDLE))?;
        self.waited.since(began);
        if ready == 0 {
            let text = "nothing came for 10 minutes";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        self.file.read(buffer)
    }
}
