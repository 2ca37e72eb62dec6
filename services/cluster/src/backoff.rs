//! How long to wait before something is tried again: longer each time, and not all nodes at once.

use std::time::Duration;

/// Grows from `least` to `most`, doubling.
#[derive(Debug)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, next: least }
    }

    /// The next wait: between a half and all of what it has grown to.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = jitter(self.next);
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// Whether it cannot grow any more.
    pub(crate) fn at_most(&self) -> bool {
        self.next == self.most
    }

    /// What was tried has worked.
    pub(crate) fn reset(&mut self) {
        self.next = self.least;
    }
}

/// Something between a half of `time` and all of it.
pub(crate) fn jitter(time: Duration) -> Duration {
    // The upper bits of a number of version 4 are all chance.
    let chance = (uuid::Uuid::new_v4().as_u128() >> 96) as u32;
    time / 2 + (time / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_again() {
        let (least, most) = (Duration::from_millis(200), Duration::from_secs(15));
        let mut backoff = Backoff::new(least, most);
        let mut full = least;
        for _ in 0..12 {
            let wait = backoff.wait();
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
            full = (full * 2).min(most);
        }
        assert!(backoff.at_most());
        backoff.reset();
        assert!(!backoff.at_most() && backoff.wait() <= least);
    }

    #[test]
    fn not_all_wait_the_same() {
        let time = Duration::from_secs(600);
        let waits: std::collections::BTreeSet<_> = (0..20).map(|_| jitter(time)).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}
