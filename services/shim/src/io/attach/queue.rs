//! What one client is still to be sent. Frames are shared: a client costs no copy of its own.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::tasks::lock;

/// A client may be so many bytes behind.
pub(super) const MOST: usize = 1 << 20;
/// What a frame takes beside its bytes, counted as if it were bytes.
const OVERHEAD: usize = 64;

pub(super) struct Queue {
    state: Mutex<State>,
    more: Notify,
    cut: Notify,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing is added any more.
    over: bool,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { state: Mutex::default(), more: Notify::new(), cut: Notify::new() }
    }

    /// Adds a frame, or gives the client up.
    pub(super) fn push(&self, frame: Bytes) {
        let mut state = lock(&self.state);
        if state.over {
            return;
        }
        state.bytes += frame.len() + OVERHEAD;
        if state.bytes > MOST {
            *state = State { over: true, ..State::default() };
            self.cut.notify_one();
            return;
        }
        state.frames.push_back(frame);
        self.more.notify_one();
    }

    /// What is in it is the last.
    pub(super) fn finish(&self) {
        lock(&self.state).over = true;
        self.more.notify_one();
    }

    /// The next frame; none after the last one.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(frame) = state.frames.pop_front() {
                    state.bytes -= frame.len() + OVERHEAD;
                    return Some(frame);
                }
                if state.over {
                    return None;
                }
            }
            self.more.notified().await;
        }
    }

    /// Returns when the client has fallen too far behind.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }
}
