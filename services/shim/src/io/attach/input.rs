//! A process's standard input as clients have it: one after the other, and no faster than it reads.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::Mutex;

use crate::io::console::Console;

/// Our end of it.
pub(crate) enum To {
    Pipe(pipe::Sender),
    Console(Console),
}

pub(super) struct Input {
    /// The first end of a client's is its own.
    once: bool,
    closed: AtomicBool,
    /// Gone once it is closed and nobody writes to it.
    to: Mutex<Option<To>>,
}

impl To {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            To::Pipe(pipe) => pipe.write_all(bytes).await,
            To::Console(console) => console.write_all(bytes).await,
        }
    }
}

impl Input {
    /// A terminal has no end of its own: its user types one.
    pub(super) fn new(to: Option<To>, once: bool) -> Input {
        let once = once && matches!(to, Some(To::Pipe(_)));
        Input { once, closed: AtomicBool::new(to.is_none()), to: Mutex::new(to) }
    }

    /// Writes what a client sent, in its turn. After the end it is passed over.
    pub(super) async fn write(&self, bytes: &[u8]) {
        let mut to = self.to.lock().await;
        if !self.is_closed()
            && let Some(to) = &mut *to
            && to.write_all(bytes).await.is_err()
        {
            // The process has closed its side.
            self.closed.store(true, Ordering::SeqCst);
        }
        if self.is_closed() {
            *to = None;
        }
    }

    /// A client that had a part in it has no more to say.
    pub(super) fn client_ended(&self) {
        if self.once {
            self.close();
        }
    }

    /// Closes it: at once, or when what is being written has been.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Ok(mut to) = self.to.try_lock() {
            *to = None;
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
