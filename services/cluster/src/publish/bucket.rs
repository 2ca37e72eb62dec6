//! How many keys may be written now.

use std::time::Duration;

use tokio::time::Instant;

/// So many keys in a second on average, and as many at once after a second of rest.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Full. A rate of 0 counts as 1.
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, tokens: rate, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let more = now.saturating_duration_since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + more).min(self.rate);
        self.filled = self.filled.max(now);
    }

    /// How many may go now.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        self.fill(now);
        // Never more than the rate, a u32.
        self.tokens.max(0.0) as usize
    }

    /// So many went. A node's own key goes also without room: then the others wait longer.
    pub(super) fn take(&mut self, keys: usize) {
        self.tokens -= keys as f64;
    }

    /// When there is room for one.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        self.fill(now);
        let lacks = (1.0 - self.tokens).max(0.0);
        // A little later rather than a little too early, which would be for nothing.
        let wait = if lacks > 0.0 { Duration::from_millis(1) } else { Duration::ZERO };
        now + wait + Duration::from_secs_f64(lacks / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rest_of_a_second_is_a_burst_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!(bucket.room(start), 10);
        bucket.take(10);
        assert_eq!(bucket.room(start), 0);
        assert_eq!(bucket.room(start + SECOND / 2), 5);
        assert_eq!(bucket.room(start + 100 * SECOND), 10);
        // Clocks that go back give nothing and take nothing.
        assert_eq!(bucket.room(start), 10);
    }

    #[test]
    fn debts_are_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!(bucket.next(start), start);
        bucket.take(11);
        let next = bucket.next(start);
        assert!(next > start + SECOND / 10 && next < start + SECOND / 4, "{:?}", next - start);
        assert_eq!(bucket.room(next), 1);
    }
}
