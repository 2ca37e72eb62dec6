//! Whose level is whose: a pair of categories that no two have at once, so that one cannot touch what the other has.

use std::collections::{HashMap, HashSet};

use rustix::rand::{GetRandomFlags, getrandom};

/// How many categories policies have.
pub const MAX_RANGE: u32 = 1024;

/// The pair that is never given away: others use it for the files of what is not to be touched by any container.
const TAKEN: (u64, u64) = (1022, 1023);

/// From pair to pair: a prime above the number of all pairs, so that none is met twice before each was once.
const STRIDE: u64 = 1_000_003;
/// So many pairs more than are held are looked at for one that has nothing to do with what was asked for.
const PICKY: u64 = 512;

/// The levels that are somebody's.
#[derive(Debug)]
pub struct Levels {
    /// So many pairs there are.
    pairs: u64,
    /// The one of them that is never given: [`TAKEN`].
    never: (u64, u64),
    held: HashMap<String, Categories>,
}

/// The categories of a level: one may touch what has no others than its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Categories([u64; MAX_RANGE as usize / 64]);

/// There is no level left.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {0} pairs of categories are taken")]
pub struct Exhausted(u64);

impl Levels {
    /// None yet, of pairs below `range`, which is 2 to [`MAX_RANGE`].
    #[must_use]
    pub fn new(range: u32) -> Self {
        let range = u64::from(range.clamp(2, MAX_RANGE));
        Self { pairs: range * (range - 1) / 2, never: TAKEN, held: HashMap::new() }
    }

    /// A level that is nobody's: from now on it is that of `who`.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn take(&mut self, who: &str) -> Result<String, Exhausted> {
        let held: HashSet<Categories> = self.held.values().copied().collect();
        // Whoever asked for more, or fewer, has what it asked for: a pair within, or around, is given when there is no other.
        let others: Vec<_> = held.iter().filter(|held| !matches!(held.count(), 0 | 2)).collect();
        let apart = |one: &Categories| !others.iter().any(|other| one.touches(other));
        let (all, never, from) = (self.pairs, self.never, random() % self.pairs);
        let pairs = move |tries: u64| {
            let numbers = (0..all.min(tries)).map(move |step| (from + step * STRIDE) % all);
            let pairs = numbers.map(pair).filter(move |pair| *pair != never);
            pairs.map(|(low, high)| (low, high, Categories::of([low, high])))
        };
        let free = |(_, _, one): &(u64, u64, Categories)| !held.contains(one);
        // Of one more than are held, and the one that is never given, one is free.
        let enough = held.len() as u64 + 2;
        let best = pairs(enough + PICKY).filter(free).find(|(_, _, one)| apart(one));
        let found = best.or_else(|| pairs(enough).find(free));
        let (low, high, categories) = found.ok_or(Exhausted(self.pairs))?;
        self.held.insert(who.to_owned(), categories);
        Ok(level(low, high))
    }

    /// Notes that `who` has this level, which was chosen by others or on record. Its categories, in whichever words, are
    /// given to nobody else; where they are not two, those that it shares are given last.
    pub fn note(&mut self, who: &str, level: &str) {
        self.held.insert(who.to_owned(), Categories::in_level(level));
    }

    /// Takes back the level of `who`, if it has one.
    pub fn release(&mut self, who: &str) {
        self.held.remove(who);
    }
}

impl Categories {
    fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut all = Self::default();
        for number in numbers {
            // Policies have no others.
            if let Some(part) = all.0.get_mut(usize::try_from(number / 64).unwrap_or(usize::MAX)) {
                *part |= 1 << (number % 64);
            }
        }
        all
    }

    /// Those of a level such as `s0:c2,c1`, `s0-s0:c0.c1023`: of the upper one of two.
    fn in_level(level: &str) -> Self {
        let upper = level.rsplit('-').next().unwrap_or_default();
        let listed = upper.split_once(':').map(|(_, listed)| listed).unwrap_or_default();
        let number = |text: &str| text.strip_prefix('c')?.parse::<u64>().ok();
        let ranges = listed.split(',').filter_map(|part| {
            let (first, last) = part.split_once('.').unwrap_or((part, part));
            Some(number(first)?..=number(last)?.min(u64::from(MAX_RANGE)))
        });
        Self::of(ranges.flatten())
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|part| part.count_ones()).sum()
    }

    /// Whether one of the two has nothing that the other has not.
    fn touches(&self, other: &Self) -> bool {
        let within =
            |one: &Self, all: &Self| one.0.iter().zip(all.0).all(|(one, all)| one & !all == 0);
        within(self, other) || within(other, self)
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
    fn a_level_in_other_words_is_the_same() {
        for asked in ["s0:c3,c1", "s0:c1,c3", "s0-s0:c01,c3", "s0:c3.c3,c1,c3"] {
            let mut levels = Levels::new(5);
            levels.note("chosen", asked);
            for who in 0..9 {
                assert_ne!(levels.take(&who.to_string()).unwrap(), "s0:c1,c3", "{asked}");
            }
            levels.take("one more").unwrap_err();
        }
        let wrong = Categories::in_level("s0:c5.c18446744073709551615,x,c2.c1,c99999,c");
        assert_eq!(wrong.count(), MAX_RANGE - 5);
    }

    /// All there are, if need be: who asks for all categories keeps nobody from getting two.
    #[test]
    fn pairs_that_others_may_touch_are_given_last() {
        for (asked, apart) in [("s0:c0.c2", 7), ("s0:c4", 6), ("s0", 10), ("s0:c0.c1023", 0)] {
            let mut levels = Levels::new(5);
            levels.note("chosen", asked);
            let chosen = Categories::in_level(asked);
            let taken: Vec<_> = (0..10).map(|who| levels.take(&who.to_string()).unwrap()).collect();
            let all: HashSet<_> = taken.iter().collect();
            assert_eq!(all.len(), 10, "{asked}");
            let touched = taken.iter().map(|one| Categories::in_level(one).touches(&chosen));
            let first = touched.take_while(|touched| !touched || chosen.count() == 0).count();
            assert_eq!(first, apart, "{asked}: {taken:?}");
        }
    }

    /// The pair of all there are, as any of fewer: to hold half a million takes seconds.
    #[test]
    fn the_last_pair_is_never_given() {
        let Levels { pairs, never, .. } = Levels::new(MAX_RANGE);
        assert_eq!((never, pair(pairs - 1)), (TAKEN, TAKEN));
        let mut levels = Levels { never: (2, 4), ..Levels::new(5) };
        let given: HashSet<_> = (0..9).map(|who| levels.take(&who.to_string()).unwrap()).collect();
        assert_eq!(given.len(), 9);
        assert!(!given.contains("s0:c2,c4"));
        assert!(levels.take("one more").is_err());
        // Of all there are each is met as well, once.
        let mut met = vec![false; usize::try_from(pairs).unwrap()];
        for step in 0..pairs {
            let number = usize::try_from(step * STRIDE % pairs).unwrap();
            assert!(!std::mem::replace(&mut met[number], true), "{number} is met twice");
        }
    }
}
