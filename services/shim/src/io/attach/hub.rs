//! Who hears a process's output.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::frame::{self, Kind};
use super::queue::Queue;
use crate::tasks::lock;

/// The clients that are attached to a process.
#[derive(Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    closed: Notify,
}

#[derive(Default)]
struct Inner {
    clients: Vec<(u8, Arc<Queue>)>,
    /// Outputs that have not ended.
    taps: usize,
    closed: bool,
}

/// One output's way to the clients. Dropped, that output has ended.
pub(crate) struct Tap {
    hub: Arc<Hub>,
    kind: Kind,
}

/// A client's place in the hub.
pub(super) struct Seat<'a> {
    hub: &'a Hub,
    pub queue: Arc<Queue>,
}

impl Hub {
    pub(crate) fn stdout(self: &Arc<Self>) -> Tap {
        self.tap(Kind::Stdout)
    }

    pub(crate) fn stderr(self: &Arc<Self>) -> Tap {
        self.tap(Kind::Stderr)
    }

    fn tap(self: &Arc<Self>, kind: Kind) -> Tap {
        lock(&self.inner).taps += 1;
        Tap { hub: self.clone(), kind }
    }

    /// Sends a client what comes from now on.
    pub(super) fn join(&self, flags: u8) -> Seat<'_> {
        let queue = Arc::new(Queue::new());
        let mut inner = lock(&self.inner);
        inner.clients.push((flags, queue.clone()));
        if inner.closed || inner.taps == 0 {
            queue.push(Kind::End.frame(&[]));
        }
        if inner.closed {
            queue.finish();
        }
        Seat { hub: self, queue }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.inner).clients.len()
    }

    /// The process is deleted.
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        if inner.taps > 0 {
            inner.send(Kind::End, &[]);
        }
        inner.clients.iter().for_each(|(_, queue)| queue.finish());
        inner.closed = true;
        self.closed.notify_one();
    }

    /// Returns, to one caller, when the process is deleted.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }
}

impl Inner {
    fn send(&self, kind: Kind, bytes: &[u8]) {
        let concerned = || self.clients.iter().filter(|(flags, _)| kind.concerns(*flags));
        if concerned().next().is_none() {
            return;
        }
        let frame = kind.frame(bytes);
        concerned().for_each(|(_, queue)| queue.push(frame.clone()));
    }
}

impl Tap {
    /// Sends all clients what was written; returns whether there are any.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        let inner = lock(&self.hub.inner);
        if inner.clients.is_empty() {
            return false;
        }
        bytes.chunks(frame::MOST).for_each(|bytes| inner.send(self.kind, bytes));
        true
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut inner = lock(&self.hub.inner);
        inner.taps -= 1;
        if inner.taps == 0 && !inner.closed {
            inner.send(Kind::End, &[]);
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.hub.inner);
        inner.clients.retain(|(_, queue)| !Arc::ptr_eq(queue, &self.queue));
        if inner.clients.is_empty() {
            inner.clients = Vec::new();
        }
    }
}
