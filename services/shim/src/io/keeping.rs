//! Output that is kept: in its log before the end of the process is told.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use tokio::net::unix::pipe;

use super::attach::Tap;
use super::console::Console;
use super::copy::BUFFER;
use super::losses::Losses;
use super::sink::Log;
use crate::tasks::lock;

/// The most that a pipe holds, unless its user may do all (`/proc/sys/fs/pipe-max-size`).
const MOST: usize = 1 << 20;

/// Our end of a process's output.
pub(crate) enum Source {
    Pipe(pipe::Receiver),
    Console(Console),
}

/// One output of a process on its way into a log.
pub(crate) struct Keeping {
    from: Source,
    name: String,
    /// Gone once the output has ended.
    to: Mutex<Option<Kept>>,
}

struct Kept {
    log: Log,
    buffer: Vec<u8>,
    losses: Losses,
    tap: Option<Tap>,
    /// Somebody hears it, and has to have their turn before more is read.
    heard: bool,
}

impl Source {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Source::Pipe(pipe) => pipe.readable().await,
            Source::Console(console) => console.readable().await,
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Pipe(pipe) => pipe.try_read(buffer),
            Source::Console(console) => console.try_read(buffer),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Pipe(pipe) => pipe.as_fd(),
            Source::Console(console) => console.as_fd(),
        }
    }
}

impl Keeping {
    pub(crate) fn new(from: Source, log: Log, tap: Option<Tap>, name: String) -> Keeping {
        let (buffer, losses) = (vec![0; BUFFER], Losses::default());
        let kept = Kept { log, buffer, losses, tap, heard: false };
        Keeping { from, name, to: Mutex::new(Some(kept)) }
    }

    /// Writes what was read before.
    pub(crate) fn put(&self, said: &[u8]) {
        if let Some(Kept { log, losses, tap, heard, .. }) = &mut *lock(&self.to)
            && !said.is_empty()
        {
            losses.note(log.write(said), &self.name);
            *heard = tap.as_ref().is_some_and(|tap| tap.send(said));
        }
    }

    /// Copies until the output ends.
    pub(crate) async fn copy(&self) {
        while self.from.readable().await.is_ok() {
            let heard = {
                let mut to = lock(&self.to);
                self.step(&mut to, |buffer| self.from.try_read(buffer));
                to.as_ref().map(|kept| kept.heard)
            };
            match heard {
                None => return,
                Some(true) => tokio::task::yield_now().await,
                // Others have their turn beside one that never ceases.
                Some(false) => tokio::task::coop::consume_budget().await,
            }
        }
    }

    /// Copies what has been written up to now, whether or not anybody has been told of it. What a
    /// process has left behind may go on writing, and is not waited for.
    pub(crate) fn catch_up(&self) {
        let mut to = lock(&self.to);
        let mut copied = 0;
        while copied < MOST {
            let read = |buffer: &mut [u8]| Ok(rustix::io::read(self.from.fd(), buffer)?);
            match self.step(&mut to, read) {
                0 => return,
                count => copied += count,
            }
        }
    }

    /// Copies what is read at once, and answers how much that was.
    fn step(
        &self,
        to: &mut Option<Kept>,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> usize {
        let Some(Kept { log, buffer, losses, tap, heard }) = to else { return 0 };
        match read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Ok(count @ 1..) => {
                losses.note(log.write(&buffer[..count]), &self.name);
                *heard = tap.as_ref().is_some_and(|tap| tap.send(&buffer[..count]));
                count
            }
            // A terminal's other side closing is an error here, a pipe's is an end.
            Ok(_) | Err(_) => {
                losses.note(log.finish(), &self.name);
                if let Some(Kept { losses, .. }) = to.take() {
                    losses.end(&self.name);
                }
                0
            }
        }
    }
}
