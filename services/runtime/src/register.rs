//! What there is by name in each namespace, and what is being made: of a name there is one at most.
//!
//! Owns: which names are taken, and by what. Must not know: what the things are.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_ids::Namespace;
use tokio::sync::watch::Sender;

/// A name in a namespace.
pub(crate) type Key = (Namespace, String);

/// Things by name.
pub(crate) struct Register<T>(Mutex<Map<T>>);

struct Map<T> {
    there: HashMap<Key, Arc<T>>,
    /// Those that are being made. Each ends with the making.
    making: HashMap<Key, Sender<()>>,
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self(Mutex::new(Map { there: HashMap::new(), making: HashMap::new() }))
    }
}

impl<T> Register<T> {
    /// Takes a name for the time of a making; nothing if it is taken.
    pub(crate) fn begin(&self, ns: &Namespace, id: &str) -> Option<Making<'_, T>> {
        let key = key(ns, id);
        let mut map = self.map();
        if map.there.contains_key(&key) || map.making.contains_key(&key) {
            return None;
        }
        map.making.insert(key.clone(), Sender::new(()));
        drop(map);
        Some(Making { register: self, key })
    }

    /// Puts in what an earlier run has made.
    pub(crate) fn insert(&self, ns: &Namespace, id: &str, thing: Arc<T>) {
        self.map().there.insert(key(ns, id), thing);
    }

    /// What has a name.
    pub(crate) fn get(&self, ns: &Namespace, id: &str) -> Option<Arc<T>> {
        self.map().there.get(&key(ns, id)).cloned()
    }

    /// What has a name, after its making if that is under way: whoever was cut off from a making
    /// may be about to undo it.
    pub(crate) async fn settled(&self, ns: &Namespace, id: &str) -> Option<Arc<T>> {
        let making = self.map().making.get(&key(ns, id)).map(Sender::subscribe);
        if let Some(mut making) = making {
            // Nothing is ever sent: an error is the end.
            let _ = making.changed().await;
        }
        self.get(ns, id)
    }

    /// Takes out what is gone.
    pub(crate) fn remove(&self, ns: &Namespace, id: &str) {
        self.map().there.remove(&key(ns, id));
    }

    /// All of a namespace.
    pub(crate) fn all(&self, ns: &Namespace) -> Vec<Arc<T>> {
        let map = self.map();
        let own = map.there.iter().filter(|((of, _), _)| of == ns);
        own.map(|(_, thing)| thing.clone()).collect()
    }

    /// All of every namespace.
    pub(crate) fn every(&self) -> Vec<Arc<T>> {
        self.map().there.values().cloned().collect()
    }

    /// Whether anything is being made.
    pub(crate) fn is_making(&self) -> bool {
        !self.map().making.is_empty()
    }

    /// The names of a namespace that are taken.
    pub(crate) fn names(&self, ns: &Namespace) -> BTreeSet<String> {
        let map = self.map();
        let keys = map.there.keys().chain(map.making.keys());
        keys.filter(|(of, _)| of == ns).map(|(_, id)| id.clone()).collect()
    }

    fn map(&self) -> MutexGuard<'_, Map<T>> {
        // Its maps are changed by single calls: a panic cannot leave them half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(ns: &Namespace, id: &str) -> Key {
    (ns.clone(), id.to_owned())
}

/// A name that is taken while something is being made. Dropped, it is free again.
pub(crate) struct Making<'a, T> {
    register: &'a Register<T>,
    key: Key,
}

impl<T> Making<'_, T> {
    /// It is made.
    pub(crate) fn done(self, thing: Arc<T>) {
        self.register.map().there.insert(self.key.clone(), thing);
    }
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        self.register.map().making.remove(&self.key);
    }
}

/// A connection that is not there at times.
pub(crate) struct Link<C>(Mutex<Option<C>>);

impl<C: Clone> Link<C> {
    pub(crate) fn new(connection: Option<C>) -> Self {
        Self(Mutex::new(connection))
    }

    pub(crate) fn get(&self) -> Option<C> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, connection: Option<C>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_taken_once_and_a_making_is_waited_for() {
        let register = Register::default();
        let ns: Namespace = "n".parse().unwrap();
        let making = register.begin(&ns, "a").unwrap();
        assert!(register.begin(&ns, "a").is_none() && register.get(&ns, "a").is_none());
        assert_eq!(register.names(&ns), ["a".to_owned()].into());
        let done = async { making.done(Arc::new(1)) };
        let (found, ()) = tokio::join!(biased; register.settled(&ns, "a"), done);
        assert_eq!(found.as_deref(), Some(&1));
        assert!(register.begin(&ns, "a").is_none());
        drop(register.begin(&ns, "b"));
        assert!(register.settled(&ns, "b").await.is_none());
        assert!(register.begin(&"m".parse().unwrap(), "a").is_some());
        register.remove(&ns, "a");
        assert!(register.begin(&ns, "a").is_some() && register.all(&ns).is_empty());
    }
}
