//! What a collection knows of things that it keeps without what they refer to.
//!
//! A flat lease keeps a thing alone. Whoever comes to rely on the thing otherwise relies on all that
//! it refers to, which the collection has found dead: who drops that has to be told before.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The used and the half kept things of an epoch.
#[derive(Debug)]
pub(crate) struct Reach<K> {
    pub(crate) touched: HashSet<K>,
    /// Kept, but not what they refer to.
    flat: HashSet<K>,
    /// What these and what they lead to keep alive, of all services.
    below: HashMap<K, Vec<K>>,
    /// Flat things and what is below them: their owners have been told of all of it.
    told: HashSet<K>,
}

/// What is kept without what it refers to, and the references from there on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat<K> {
    /// The things.
    pub things: Vec<K>,
    /// What they and the things below them keep alive.
    pub below: Vec<(K, Vec<K>)>,
}

impl<K> Default for Flat<K> {
    fn default() -> Self {
        Self { things: Vec::new(), below: Vec::new() }
    }
}

impl<K> Default for Reach<K> {
    fn default() -> Self {
        Self {
            touched: HashSet::new(),
            flat: HashSet::new(),
            below: HashMap::new(),
            told: HashSet::new(),
        }
    }
}

impl<K: Eq + Hash + Clone> Reach<K> {
    /// Records that a thing is used; answers all that it keeps alive from now on and did not before,
    /// but for what owners were told of.
    pub(crate) fn touch(&mut self, id: K) -> Vec<K> {
        self.touched.insert(id.clone());
        if !self.flat.contains(&id) || self.told.contains(&id) {
            return Vec::new();
        }
        let mut reached = HashSet::new();
        let mut queue = vec![id];
        while let Some(next) = queue.pop() {
            let below = self.below.get(&next).into_iter().flatten();
            let new = below.filter(|to| !self.told.contains(*to) && reached.insert((*to).clone()));
            queue.extend(new.cloned());
        }
        reached.into_iter().collect()
    }

    /// The owners know of a thing's use, and of these, which are all below it that they did not know
    /// of. What `watch` takes in later is of no touch before, since it answers those.
    pub(crate) fn told(&mut self, id: K, things: Vec<K>) {
        self.told.insert(id);
        self.told.extend(things);
    }

    /// Takes in what is half kept; answers which of all that are have been used already.
    pub(crate) fn watch(&mut self, flat: Flat<K>) -> Vec<K> {
        self.below.extend(flat.below);
        self.flat.extend(flat.things);
        self.flat.intersection(&self.touched).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_makes_whole_what_was_kept_alone() {
        let mut reach = Reach::default();
        assert!(reach.touch("early").is_empty());
        let below = [("flat", vec!["a"]), ("a", vec!["b", "flat"]), ("early", vec!["c"])];
        let flat = Flat { things: vec!["flat", "early"], below: below.into() };
        assert_eq!(reach.watch(flat), ["early"]);
        assert!(reach.touch("a").is_empty(), "that is dead, not half kept");
        for _ in 0..2 {
            let mut whole = reach.touch("flat");
            whole.sort_unstable();
            assert_eq!(whole, ["a", "b", "flat"]);
        }
        let whole = reach.touch("flat");
        reach.told("flat", whole);
        assert!(reach.touch("flat").is_empty(), "all of it was told");
        assert_eq!(reach.touch("early"), ["c"], "that was not");
        let mut touched = reach.watch(Flat::default());
        touched.sort_unstable();
        assert_eq!(touched, ["early", "flat"]);
    }
}
