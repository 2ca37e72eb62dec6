//! What both sides know of a stream: whether it ended, and how much may be sent.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// SPDY's window at the start, in bytes.
const WINDOW: i64 = 64 << 10;

/// How a connection's client takes part in flow control.
///
/// Kubernetes' clients know no windows: they neither keep one nor ever widen ours, and a server that
/// insisted would hang after 64 KiB. So windows hold from the moment that a client first speaks of one.
#[derive(Debug)]
pub(crate) struct Pace {
    speaks: AtomicBool,
    initial: AtomicI64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { speaks: AtomicBool::new(false), initial: AtomicI64::new(WINDOW) }
    }
}

impl Pace {
    /// The client spoke of a window.
    pub(crate) fn speaks(&self) {
        self.speaks.store(true, Ordering::Relaxed);
    }

    /// Sets the window of streams to come; returns by how much it differs from the one before.
    pub(crate) fn set_initial(&self, window: u32) -> i64 {
        self.speaks();
        let window = i64::from(window).min(i64::from(i32::MAX));
        window - self.initial.swap(window, Ordering::Relaxed)
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct State {
    pace: Arc<Pace>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Bytes that may still be sent. Below zero if the client spoke of windows late.
    window: i64,
    reset: bool,
    gone: bool,
    remote_ended: bool,
    local_ended: bool,
    waiting: Option<Waker>,
}

impl State {
    pub(crate) fn new(pace: Arc<Pace>) -> Self {
        let window = pace.initial.load(Ordering::Relaxed);
        let inner = Inner {
            window,
            reset: false,
            gone: false,
            remote_ended: false,
            local_ended: false,
            waiting: None,
        };
        Self { pace, inner: Mutex::new(inner) }
    }

    /// How many of `wanted` bytes may be sent now, waiting while it is none. None if the stream is reset.
    pub(crate) fn poll_room(&self, wanted: usize, cx: &Context<'_>) -> Poll<Option<usize>> {
        let mut inner = self.lock();
        if inner.reset || inner.gone {
            return Poll::Ready(None);
        }
        if !self.pace.speaks.load(Ordering::Relaxed) {
            return Poll::Ready(Some(wanted));
        }
        match usize::try_from(inner.window) {
            Ok(window) if window > 0 => Poll::Ready(Some(wanted.min(window))),
            _ => {
                inner.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// So many bytes were sent.
    pub(crate) fn sent(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.window = inner.window.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The client allows `delta` bytes more (or less).
    pub(crate) fn widen(&self, delta: i64) {
        let waiting = {
            let mut inner = self.lock();
            inner.window = inner.window.saturating_add(delta).min(i64::from(i32::MAX));
            inner.waiting.take()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Neither direction goes on.
    pub(crate) fn reset(&self) {
        self.stop(|inner| inner.reset = true);
    }

    /// The connection is no more: as a reset, unless the client had said that its side is at its end.
    pub(crate) fn cut(&self) {
        self.stop(|inner| {
            inner.gone = true;
            inner.reset |= !inner.remote_ended;
        });
    }

    fn stop(&self, change: impl FnOnce(&mut Inner)) {
        let waiting = {
            let mut inner = self.lock();
            change(&mut inner);
            inner.waiting.take()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.lock().reset
    }

    pub(crate) fn remote_ended(&self) {
        self.lock().remote_ended = true;
    }

    pub(crate) fn local_ended(&self) {
        self.lock().local_ended = true;
    }

    /// Whether nothing more can happen on the stream.
    pub(crate) fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.reset || (inner.remote_ended && inner.local_ended)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
