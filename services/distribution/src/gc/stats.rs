//! What a collection did, in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::id::Id;

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many were dropped, by kind.
    pub dropped: BTreeMap<String, u64>,
    /// Bytes of blobs that were freed.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// How long this service worked for it, without waiting for others.
    pub busy: Duration,
}

impl Stats {
    pub(super) fn add(&mut self, dropped: &[Id], bytes: u64) {
        self.bytes += bytes;
        for id in dropped {
            *self.dropped.entry(id.kind.clone()).or_default() += 1;
        }
    }
}
