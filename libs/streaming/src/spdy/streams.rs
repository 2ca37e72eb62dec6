//! The streams of a connection: each number once, a bounded number open at a time.

use std::collections::BTreeMap;

use super::frame::Fault;
use crate::channel::Feed;

#[derive(Debug)]
pub(super) struct Streams {
    open: BTreeMap<u32, Feed>,
    last: u32,
    most: usize,
}

impl Streams {
    pub(super) fn new(most: usize) -> Self {
        Self { open: BTreeMap::new(), last: 0, most }
    }

    /// Notes the number of a new stream. False: there are too many open ones.
    pub(super) fn admit(&mut self, stream: u32) -> Result<bool, Fault> {
        if stream <= self.last || stream.is_multiple_of(2) {
            return Err(Fault::StreamNumber(stream));
        }
        self.last = stream;
        if self.open.len() >= self.most {
            self.open.retain(|_, feed| !feed.state.is_over());
        }
        Ok(self.open.len() < self.most)
    }

    pub(super) fn insert(&mut self, stream: u32, feed: Feed) {
        self.open.insert(stream, feed);
    }

    pub(super) fn get(&mut self, stream: u32) -> Option<&mut Feed> {
        self.open.get_mut(&stream)
    }

    /// The client's side of a stream is at its end.
    pub(super) fn end(&mut self, stream: u32) {
        if let Some(feed) = self.open.get_mut(&stream) {
            feed.end();
            if feed.state.is_over() {
                self.open.remove(&stream);
            }
        }
    }

    /// The client gave a stream up.
    pub(super) fn reset(&mut self, stream: u32) {
        if let Some(mut feed) = self.open.remove(&stream) {
            feed.reset();
        }
    }

    /// All windows change.
    pub(super) fn widen_all(&self, delta: i64) {
        self.open.values().for_each(|feed| feed.state.widen(delta));
    }
}
