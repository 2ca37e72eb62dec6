//! How long an answer is waited for.
//!
//! Who gives up too soon on an etcd that has much to do asks again, and adds to it: as many nodes as wait for it
//! at once would never get an answer. So patience grows with each answer that does not come in time, and
//! shrinks again with those that come soon.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::PATIENCE;

/// The most there is.
const LONGEST: Duration = Duration::from_secs(20);

/// The patience with one etcd.
#[derive(Debug)]
pub(super) struct Patience {
    millis: AtomicU64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { millis: AtomicU64::new(millis(PATIENCE)) }
    }
}

impl Patience {
    /// How long the next answer is waited for.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    /// No member gave an answer within `waited`.
    pub fn was_late(&self, waited: Duration) {
        let next = millis((waited * 2).clamp(PATIENCE, LONGEST));
        self.millis.fetch_max(next, Ordering::Relaxed);
    }

    /// An answer came after `waited`.
    pub fn was_answered(&self, waited: Duration) {
        let now = self.now();
        if now > PATIENCE && waited < now / 4 {
            // Of several at once each may have it shrink, but never below the least.
            self.millis.store(millis((now / 2).max(PATIENCE)), Ordering::Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_while_answers_are_late_and_shrinks_when_they_come_soon() {
        let patience = Patience::default();
        assert_eq!(patience.now(), PATIENCE);
        let grown = [10, 20, 20].map(|_| {
            patience.was_late(patience.now());
            patience.now().as_secs()
        });
        assert_eq!(grown, [10, 20, 20]);
        // One question may have less time than there is patience.
        patience.was_late(Duration::from_secs(1));
        assert_eq!(patience.now(), LONGEST);
        patience.was_answered(Duration::from_secs(8));
        assert_eq!(patience.now(), LONGEST);
        let shrunk = [0; 3].map(|_| {
            patience.was_answered(Duration::from_secs(1));
            patience.now().as_secs()
        });
        assert_eq!(shrunk, [10, 5, 5]);
    }
}
