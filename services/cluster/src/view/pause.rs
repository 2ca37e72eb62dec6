//! How long to wait before etcd is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Twice as long from one time to the next, and never quite as long as others wait: they all lost the same
/// etcd.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Pause {
    pub fn new() -> Self {
        Self(FIRST)
    }

    /// The next one.
    pub fn next(&mut self) -> Duration {
        let most = self.0;
        self.0 = (2 * most).min(LONGEST);
        let part = RandomState::new().hash_one(0) % 512;
        most / 2 + most * u32::try_from(part).unwrap_or(0) / 1024
    }

    /// It went well.
    pub fn reset(&mut self) {
        self.0 = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew() {
        let mut pause = Pause::new();
        let mut most = FIRST;
        for _ in 0..10 {
            let next = pause.next();
            assert!(next >= most / 2 && next <= most, "{next:?} of {most:?}");
            most = (2 * most).min(LONGEST);
        }
        assert_eq!(most, LONGEST);
        pause.reset();
        assert!(pause.next() <= FIRST);
    }
}
