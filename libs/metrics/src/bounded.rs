//! Counting by names that others choose: the first ones are told apart, the rest is counted together.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What names that have no place are counted as.
pub const OTHER: &str = "other";
/// The longest name that is told.
const LONGEST: usize = 256;

/// Something for each name, `most` at most beside [`OTHER`].
#[derive(Debug)]
pub struct Bounded<T> {
    most: usize,
    there: RwLock<BTreeMap<Box<str>, Arc<T>>>,
}

impl<T: Default> Bounded<T> {
    /// Tells so many names apart.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { most, there: RwLock::new(BTreeMap::new()) }
    }

    /// What is counted under a name. To be kept by whoever counts often.
    pub fn of(&self, name: &str) -> Arc<T> {
        let there = self.there.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = there.get(name) {
            return Arc::clone(found);
        }
        drop(there);
        let mut there = self.there.write().unwrap_or_else(PoisonError::into_inner);
        let full = there.len() >= self.most || name.len() > LONGEST;
        let name = if full && !there.contains_key(name) { OTHER } else { name };
        Arc::clone(there.entry(name.into()).or_default())
    }

    /// Hands all to `each`, by name.
    pub fn each(&self, mut each: impl FnMut(&str, &T)) {
        let there = self.there.read().unwrap_or_else(PoisonError::into_inner);
        there.iter().for_each(|(name, thing)| each(name, thing));
    }
}

/// Names of which so many are told apart when what there is is looked up.
#[derive(Debug)]
pub struct Groups<T> {
    most: usize,
    there: BTreeMap<String, T>,
}

impl<T: Default> Groups<T> {
    /// Tells so many names apart.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, there: BTreeMap::new() }
    }

    /// What belongs to a name.
    pub fn of(&mut self, name: &str) -> &mut T {
        let full = self.there.len() >= self.most || name.len() > LONGEST;
        let name = if full && !self.there.contains_key(name) { OTHER } else { name };
        self.there.entry(name.to_owned()).or_default()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.there.iter().map(|(name, thing)| (name.as_str(), thing))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn names_beyond_the_most_are_one() {
        let bounded: Bounded<AtomicU64> = Bounded::new(2);
        let mut groups: Groups<u64> = Groups::new(2);
        let long = "x".repeat(300);
        for name in ["a", "b", "c", "a", "d", &long] {
            bounded.of(name).fetch_add(1, Ordering::Relaxed);
            *groups.of(name) += 1;
        }
        let mut told = Vec::new();
        bounded.each(|name, count| told.push((name.to_owned(), count.load(Ordering::Relaxed))));
        let expected = [("a", 2), ("b", 1), (OTHER, 3)];
        assert_eq!(told, expected.map(|(name, count)| (name.to_owned(), count)));
        assert!(groups.iter().map(|(name, count)| (name, *count)).eq(expected));
    }
}
