//! Chance that comes out alike in each run: SplitMix64.

use std::time::Duration;

/// A source of numbers that look like chance and follow from a seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The source of a seed, and of a number within it: those of other numbers have nothing in common.
    #[must_use]
    pub fn new(seed: u64, number: u64) -> Self {
        let mut chance = Self(seed);
        let first = chance.number();
        Self(first ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() >> 11) as usize % bound.max(1)
    }

    /// One of `all`, which has some.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// So many bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.number().to_le_bytes()[..part.len()]);
        }
        bytes
    }

    /// The same as hexadecimal digits, twice as many.
    pub fn hex<const N: usize>(&mut self) -> String {
        self.bytes::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The time until the next of events that come by themselves, `rate` of them in a second on average.
    pub fn wait(&mut self, rate: f64) -> Duration {
        let part = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        // The longest waits are cut: one in ten thousand.
        Duration::from_secs_f64((-(1.0 - part).ln()).min(10.0) / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_and_another_number_another() {
        let hex = |seed, number| Chance::new(seed, number).hex::<32>();
        assert_eq!(hex(1, 2), hex(1, 2));
        assert_eq!(hex(1, 2).len(), 64);
        assert!(hex(1, 2) != hex(1, 3) && hex(1, 2) != hex(2, 2));
    }

    #[test]
    fn waits_are_as_long_as_they_should_be_on_average() {
        let mut chance = Chance::new(7, 0);
        let total: Duration = (0..10_000).map(|_| chance.wait(4.0)).sum();
        assert!(
            total > Duration::from_secs(2_400) && total < Duration::from_secs(2_600),
            "{total:?}"
        );
    }
}
