//! Choices that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator of our own: the sequence is the seed's alone.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // xorshift stays at zero.
        Self(seed.max(1))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A seed that nobody has chosen.
pub fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(1)
}

/// A number from the environment.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
