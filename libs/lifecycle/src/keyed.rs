//! Who waits for whom, by key: one lock for each, which takes no memory while nobody uses it.
//!
//! Invariant: a key has an entry for as long as somebody holds its lock or waits for it, and no longer.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// A lock for each key, held alone or shared. Clones share them.
///
/// Those who wait for one key come one after another, as they have asked; those of two keys never wait for each
/// other. Waiting has no deadline of its own, and may be given up at any time.
pub struct Keyed<K>(Arc<Mutex<HashMap<K, Entry>>>);

struct Entry {
    lock: Arc<RwLock<()>>,
    /// Who holds it or waits for it.
    users: usize,
}

/// The lock of one key, until it is dropped.
#[must_use = "it is let go when it is dropped"]
pub struct Held<K: Eq + Hash> {
    // Let go before the entry may go: whoever finds none makes a lock that nobody holds.
    _lock: Lock,
    user: User<K>,
}

/// How it is held.
#[expect(dead_code, reason = "they are held, and nobody looks into them")]
enum Lock {
    Alone(OwnedRwLockWriteGuard<()>),
    Shared(OwnedRwLockReadGuard<()>),
}

/// Somebody who holds a key's lock or waits for it.
struct User<K: Eq + Hash> {
    of: Keyed<K>,
    key: K,
}

impl<K: Eq + Hash> Keyed<K> {
    /// Waits until nobody else has the lock of `key`.
    pub async fn alone<Q>(&self, key: &Q) -> Held<K>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
    {
        let (user, lock) = self.enter(key);
        Held { _lock: Lock::Alone(lock.write_owned().await), user }
    }

    /// Waits until nobody has the lock of `key` alone, or has waited longer to have it so.
    pub async fn shared<Q>(&self, key: &Q) -> Held<K>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
    {
        let (user, lock) = self.enter(key);
        Held { _lock: Lock::Shared(lock.read_owned().await), user }
    }

    fn enter<Q>(&self, key: &Q) -> (User<K>, Arc<RwLock<()>>)
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
    {
        let user = User { of: self.clone(), key: key.to_owned() };
        let mut entries = self.entries();
        let lock = match entries.get_mut(key) {
            Some(entry) => {
                entry.users += 1;
                Arc::clone(&entry.lock)
            }
            None => {
                let lock = Arc::new(RwLock::new(()));
                entries.insert(key.to_owned(), Entry { lock: Arc::clone(&lock), users: 1 });
                lock
            }
        };
        (user, lock)
    }
}

impl<K> Keyed<K> {
    fn entries(&self) -> MutexGuard<'_, HashMap<K, Entry>> {
        // What is done to an entry is one step: a panic elsewhere cannot have torn it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for User<K> {
    fn drop(&mut self) {
        let mut entries = self.of.entries();
        let Some(entry) = entries.get_mut(&self.key) else { return };
        entry.users -= 1;
        if entry.users == 0 {
            entries.remove(&self.key);
        }
    }
}

impl<K> Clone for Keyed<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Keyed<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> fmt::Debug for Keyed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyed").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + fmt::Debug> fmt::Debug for Held<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.user.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use futures::{FutureExt, poll};

    use super::*;
    use crate::Tasks;

    /// Whoever gets it at once; whoever would have to wait gives up.
    fn alone(keyed: &Keyed<String>, key: &str) -> Option<Held<String>> {
        keyed.alone(key).now_or_never()
    }

    fn shared(keyed: &Keyed<String>, key: &str) -> Option<Held<String>> {
        keyed.shared(key).now_or_never()
    }

    fn keys(keyed: &Keyed<String>) -> usize {
        keyed.entries().len()
    }

    #[test]
    fn one_holds_a_key_alone_or_several_share_it() {
        let keyed = Keyed::default();
        let other = keyed.clone();
        let held = alone(&keyed, "n").unwrap();
        assert!(alone(&other, "n").is_none() && shared(&other, "n").is_none());
        drop(held);
        let both = (shared(&keyed, "n").unwrap(), shared(&other, "n").unwrap());
        assert!(alone(&keyed, "n").is_none());
        drop(both.0);
        assert!(alone(&keyed, "n").is_none());
        drop(both.1);
        assert!(alone(&keyed, "n").is_some());
    }

    #[test]
    fn nobody_waits_for_another_key() {
        let keyed = Keyed::default();
        let held = (alone(&keyed, "a").unwrap(), alone(&keyed, "b").unwrap());
        assert_eq!(keys(&keyed), 2);
        drop(held);
        assert_eq!(keys(&keyed), 0);
    }

    #[tokio::test]
    async fn a_key_that_nobody_uses_takes_no_memory() {
        let keyed = Keyed::<String>::default();
        let first = keyed.shared("n").await;
        let second = keyed.shared("n").await;
        let third = keyed.clone();
        let mut waits = Box::pin(third.alone("n"));
        assert!(poll!(&mut waits).is_pending());
        drop(first);
        assert!(poll!(&mut waits).is_pending());
        drop(second);
        // Who waits keeps it, as who holds it does.
        assert_eq!(keys(&keyed), 1);
        let Poll::Ready(held) = poll!(&mut waits) else { panic!("it waits for nobody") };
        assert_eq!(keys(&keyed), 1);
        drop(held);
        assert_eq!(keys(&keyed), 0);
    }

    #[tokio::test]
    async fn a_key_goes_with_the_last_who_waits_if_that_one_gives_up() {
        let keyed = Keyed::<String>::default();
        let held = keyed.alone("n").await;
        let (mut first, mut second) = (Box::pin(keyed.alone("n")), Box::pin(keyed.shared("n")));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(held);
        // It is the turn of the first, who does not take it.
        assert!(poll!(&mut second).is_pending());
        drop(first);
        let Poll::Ready(second) = poll!(&mut second) else { panic!("it waits for nobody") };
        assert!(alone(&keyed, "n").is_none(), "{second:?}");
        assert_eq!(keys(&keyed), 1);
        let mut last = Box::pin(keyed.alone("n"));
        assert!(poll!(&mut last).is_pending());
        drop(second);
        assert_eq!(keys(&keyed), 1);
        drop(last);
        assert_eq!(keys(&keyed), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn there_are_never_two_at_a_key() {
        const TASKS: usize = 8;
        const TIMES: usize = 500;
        let (keyed, tasks) = (Keyed::<usize>::default(), Tasks::default());
        let inside: Arc<[AtomicUsize; 2]> = Arc::default();
        let work = |task: usize| {
            let (keyed, inside) = (keyed.clone(), Arc::clone(&inside));
            tasks.spawn("take turns", async move {
                for time in 0..TIMES {
                    let key = (task + time) % inside.len();
                    // Some give up.
                    drop(keyed.alone(&key).now_or_never());
                    let _held = keyed.alone(&key).await;
                    assert_eq!(inside[key].fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    assert_eq!(inside[key].fetch_sub(1, Ordering::SeqCst), 1);
                }
            })
        };
        let working: Vec<_> = (0..TASKS).map(work).collect();
        for task in working {
            task.await.unwrap();
        }
        assert!(keyed.entries().is_empty());
    }
}
