//! What a connection's writer has yet to send besides output: at most one entry per stream, so that
//! ends and credit can be left here by a drop, without waiting.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What is owed on one stream, in the order of sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Bytes that were read and that the client may send anew.
    pub(crate) credit: u32,
    /// There is no more output.
    pub(crate) end: bool,
    /// The stream is given up.
    pub(crate) reset: bool,
}

/// Why a connection ends, as its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// All is done.
    Done,
    /// The client broke the protocol.
    Fault,
    /// The client sent more at once than is allowed.
    TooLarge,
}

#[derive(Debug, Default)]
pub(crate) struct Owed {
    debts: Mutex<Debts>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Debts {
    streams: BTreeMap<u32, Due>,
    finished: Option<Parting>,
}

impl Owed {
    pub(crate) fn credit(&self, stream: u32, bytes: u32) {
        self.add(stream, |due| due.credit = due.credit.saturating_add(bytes));
    }

    pub(crate) fn end(&self, stream: u32) {
        self.add(stream, |due| due.end = true);
    }

    pub(crate) fn reset(&self, stream: u32) {
        self.add(stream, |due| due.reset = true);
    }

    /// All has been said: the connection can be closed after what is queued.
    pub(crate) fn finish(&self, parting: Parting) {
        self.lock().finished.get_or_insert(parting);
        self.wake.notify_one();
    }

    /// Waits until something is owed, or all has been said (then with how to part).
    ///
    /// What was queued as output before is sent before what this returns.
    pub(crate) async fn next(&self) -> (BTreeMap<u32, Due>, Option<Parting>) {
        loop {
            {
                let mut debts = self.lock();
                if debts.finished.is_some() || !debts.streams.is_empty() {
                    return (std::mem::take(&mut debts.streams), debts.finished);
                }
            }
            self.wake.notified().await;
        }
    }

    fn add(&self, stream: u32, change: impl FnOnce(&mut Due)) {
        change(self.lock().streams.entry(stream).or_default());
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Debts> {
        // Whole after every statement.
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
