//! Which keys of etcd a view does not show.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// So many keys are known one by one; of more there is only a number.
const KNOWN: usize = 100_000;

/// Keys that are there and not shown. Only their hashes are kept, by a secret of this process.
#[derive(Debug, Default)]
pub(super) struct Unshown {
    hashes: RandomState,
    known: HashSet<u64>,
    /// As many again as did not fit. Those are forgotten only when all is listed again.
    more: u64,
}

impl Unshown {
    /// Notes a key; answers whether it is new.
    pub fn insert(&mut self, key: &[u8]) -> bool {
        let hash = self.hashes.hash_one(key);
        if self.known.len() < KNOWN {
            return self.known.insert(hash);
        }
        let new = !self.known.contains(&hash);
        self.more += u64::from(new);
        new
    }

    /// The key is gone, or is shown now.
    pub fn remove(&mut self, key: &[u8]) {
        if !self.known.is_empty() {
            self.known.remove(&self.hashes.hash_one(key));
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.known.len() as u64 + self.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_once_and_their_number_is_bounded() {
        let mut unshown = Unshown::default();
        assert!(unshown.insert(b"a") && !unshown.insert(b"a") && unshown.insert(b"b"));
        unshown.remove(b"a");
        unshown.remove(b"x");
        assert_eq!(unshown.count(), 1);
        for number in 0..KNOWN + 10 {
            unshown.insert(&number.to_le_bytes());
        }
        assert_eq!((unshown.count(), unshown.known.len()), (KNOWN as u64 + 11, KNOWN));
    }
}
