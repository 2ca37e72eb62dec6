//! A layer's bytes from a descriptor that somebody else fills.

use std::fs::File;
use std::io::{self, Read};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the other side may say nothing. Distribution gives up on a stalled registry before.
const IDLE: Timespec = Timespec { tv_sec: 600, tv_nsec: 0 };

/// Reads a pipe or file; an idle pipe ends in an error instead of holding a thread for ever.
pub struct Patient(File);

impl Patient {
    /// Reads `file`.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self(file)
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&IDLE))?;
        if ready == 0 {
            let text = "nothing came for 10 minutes";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        self.0.read(buffer)
    }
}
