//! Which sandboxes of a controller this run knows of.
//!
//! A name may be given again, by whoever shuts down and makes: what is known under it is of the
//! latest sandbox that had it. Whoever is at an earlier one holds that one's [`Life`], and cannot
//! forget a later one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_ids::Namespace;

use super::life::Life;
use crate::register::Key;

/// The sandboxes that are there as far as this run was told, and the names that are being given.
#[derive(Default)]
pub(super) struct Known(Mutex<Map>);

#[derive(Default)]
struct Map {
    there: HashMap<Key, Arc<Life>>,
    /// How many ask for a name at once: the controller says who gets it.
    making: HashMap<Key, usize>,
}

impl Known {
    /// Counts a name as taken for the time of a making.
    pub(super) fn begin(&self, key: &Key) -> Making<'_> {
        *self.map().making.entry(key.clone()).or_default() += 1;
        Making { known: self, key: key.clone() }
    }

    /// The sandbox that has a name.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Life>> {
        self.map().there.get(key).cloned()
    }

    /// The sandbox that has a name, or else this one.
    pub(super) fn or_insert(&self, life: Life) -> Arc<Life> {
        let mut map = self.map();
        let found = map.there.entry(life.key().clone());
        found.or_insert_with(|| Arc::new(life)).clone()
    }

    /// Forgets a sandbox, and none that came after it.
    pub(super) fn remove(&self, life: &Arc<Life>) {
        let mut map = self.map();
        if map.there.get(life.key()).is_some_and(|there| Arc::ptr_eq(there, life)) {
            map.there.remove(life.key());
        }
    }

    /// The names of a namespace that are taken.
    pub(super) fn names(&self, ns: &Namespace) -> BTreeSet<String> {
        let map = self.map();
        let keys = map.there.keys().chain(map.making.keys());
        keys.filter(|(of, _)| of == ns).map(|(_, id)| id.clone()).collect()
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        // Its maps are changed by single calls: a panic cannot leave them half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that counts as taken until this is dropped.
pub(super) struct Making<'a> {
    known: &'a Known,
    key: Key,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut map = self.known.map();
        if let Some(count) = map.making.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                map.making.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use berth_events::Position;

    use super::super::life::Start;
    use super::*;
    use crate::events::{Event, Events, Sink, Stamp};

    struct Deaf;

    impl Sink for Deaf {
        fn publish_at(&self, _: SystemTime, _: &Namespace, _: Event) -> Position {
            Position { incarnation: 1, seq: 1 }
        }

        fn recall(&self, _: Stamp, _: &Namespace, _: Event) {}
    }

    #[test]
    fn a_name_is_taken_while_any_is_made_and_until_the_latest_is_gone() {
        let (known, ns) = (Known::default(), "n".parse::<Namespace>().unwrap());
        let key: Key = (ns.clone(), "s".to_owned());
        let life = || Life::new(key.clone(), Start::Not, Events::new(Arc::new(Deaf)));
        let (one, other) = (known.begin(&key), known.begin(&key));
        drop(one);
        assert_eq!(known.names(&ns), ["s".to_owned()].into());
        let first = known.or_insert(life());
        assert!(Arc::ptr_eq(&known.or_insert(life()), &first));
        drop(other);
        known.remove(&first);
        assert!(known.names(&ns).is_empty() && known.get(&key).is_none());
        let second = known.or_insert(life());
        // Whoever still is at the first forgets nothing of the second.
        known.remove(&first);
        assert!(Arc::ptr_eq(&known.get(&key).unwrap(), &second));
        assert!(known.names(&"m".parse().unwrap()).is_empty());
        assert_eq!(known.names(&ns), ["s".to_owned()].into());
    }
}
