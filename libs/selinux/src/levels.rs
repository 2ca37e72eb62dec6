//! Whose level is whose: a pair of categories that no two have at once, so that one cannot touch what the other has.

use std::collections::{HashMap, HashSet};

use rustix::rand::{GetRandomFlags, getrandom};

/// How many categories policies have.
pub const MAX_RANGE: u32 = 1024;

/// The pair that is never given away: others use it for the files of what is not to be touched by any container.
const TAKEN: (u64, u64) = (1022, 1023);

/// The levels that are somebody's.
#[derive(Debug)]
pub struct Levels {
    /// So many pairs there are.
    pairs: u64,
    held: HashMap<String, String>,
}

/// There is no level left.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {0} pairs of categories are taken")]
pub struct Exhausted(u64);

impl Levels {
    /// None yet, of pairs below `range`, which is 2 to [`MAX_RANGE`].
    #[must_use]
    pub fn new(range: u32) -> Self {
        let range = u64::from(range.clamp(2, MAX_RANGE));
        Self { pairs: range * (range - 1) / 2, held: HashMap::new() }
    }

    /// A level that is nobody's: from now on it is that of `who`.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn take(&mut self, who: &str) -> Result<String, Exhausted> {
        let held: HashSet<&str> = self.held.values().map(String::as_str).collect();
        let from = random() % self.pairs;
        // Of one more than are held, and the one that is never given, one is free.
        let tries = self.pairs.min(held.len() as u64 + 2);
        let pairs = (0..tries).map(|step| pair((from + step) % self.pairs));
        let mut free = pairs.filter(|pair| *pair != TAKEN).map(|(low, high)| level(low, high));
        let level = free.find(|level| !held.contains(level.as_str()));
        let level = level.ok_or(Exhausted(self.pairs))?;
        self.held.insert(who.to_owned(), level.clone());
        Ok(level)
    }

    /// Notes that `who` has this level, which was chosen by others or on record: it is given to nobody else.
    pub fn note(&mut self, who: &str, level: &str) {
        self.held.insert(who.to_owned(), level.to_owned());
    }

    /// Takes back the level of `who`, if it has one.
    pub fn release(&mut self, who: &str) {
        self.held.remove(who);
    }
}

/// The pair of a number: (0, 1), (0, 2), (1, 2), (0, 3), …
fn pair(number: u64) -> (u64, u64) {
    let high = (1 + 8 * number).isqrt().div_ceil(2);
    (number - high * (high - 1) / 2, high)
}

fn level(low: u64, high: u64) -> String {
    format!("s0:c{low},c{high}")
}

/// Any number. Where the kernel has none pairs are given in their order: they need not be secret.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom(&mut bytes[..], GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_a_pair_of_its_own() {
        let count = u64::from(MAX_RANGE) * u64::from(MAX_RANGE - 1) / 2;
        let pairs: HashSet<_> = (0..count).map(pair).collect();
        assert_eq!(pairs.len() as u64, count);
        let right = |(low, high): &(u64, u64)| low < high && *high < u64::from(MAX_RANGE);
        assert!(pairs.iter().all(right));
    }

    #[test]
    fn no_two_have_one_level_until_all_are_taken() {
        let mut levels = Levels::new(5);
        levels.note("chosen", "s0:c1,c3");
        let taken: HashSet<_> = (0..9).map(|who| levels.take(&who.to_string()).unwrap()).collect();
        assert_eq!(taken.len(), 9);
        assert!(!taken.contains("s0:c1,c3"));
        let none = levels.take("one more").unwrap_err();
        assert_eq!(none.to_string(), "all 10 pairs of categories are taken");
        levels.release("chosen");
        levels.release("nobody");
        assert_eq!(levels.take("one more").unwrap(), "s0:c1,c3");
    }

    #[test]
    fn the_last_pair_is_never_given() {
        let mut levels = Levels::new(MAX_RANGE);
        let count = u64::from(MAX_RANGE) * u64::from(MAX_RANGE - 1) / 2;
        for number in 0..count {
            let (low, high) = pair(number);
            if (low, high) != TAKEN && (low, high) != (3, 4) {
                levels.note(&number.to_string(), &level(low, high));
            }
        }
        assert_eq!(levels.take("one").unwrap(), "s0:c3,c4");
        assert!(levels.take("other").is_err());
    }
}
