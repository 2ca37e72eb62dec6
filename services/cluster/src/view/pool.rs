//! What many objects have alike is kept once: names of nodes, namespaces and images, and whole images.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// So many may lie unused before they are looked for.
const LEAST: usize = 1 << 10;
/// And so many bytes.
const LEAST_BYTES: usize = 16 << 20;

/// Values that are shared. What nobody has any more is let go of now and then: never more than half of
/// what is in it, and [`LEAST`] or [`LEAST_BYTES`], is of no use.
#[derive(Debug)]
pub(super) struct Pool<T: ?Sized> {
    known: HashSet<Arc<T>>,
    bytes: usize,
    /// As many are in it before it is swept again.
    full: usize,
    /// Or as many bytes.
    full_bytes: usize,
}

impl<T: ?Sized + Hash + Eq> Default for Pool<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), bytes: 0, full: LEAST, full_bytes: LEAST_BYTES }
    }
}

impl<T: ?Sized + Hash + Eq> Pool<T>
where
    for<'a> Arc<T>: From<&'a T>,
{
    /// The one that is equal to `value`.
    pub fn get(&mut self, value: &T) -> Arc<T> {
        if let Some(known) = self.known.get(value) {
            return known.clone();
        }
        if self.known.len() >= self.full || self.bytes >= self.full_bytes {
            self.sweep();
        }
        let new: Arc<T> = value.into();
        self.bytes += size_of_val(value);
        self.known.insert(new.clone());
        new
    }

    /// Lets go of what nobody has any more. Looks at everything.
    pub fn sweep(&mut self) {
        self.known.retain(|value| Arc::strong_count(value) > 1);
        self.bytes = self.known.iter().map(|value| size_of_val(&**value)).sum();
        self.full = (2 * self.known.len()).max(LEAST);
        self.full_bytes = 2 * self.bytes + LEAST_BYTES;
        self.known.shrink_to(self.full);
    }

    /// Bytes of all that is in it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_kept_once_and_what_is_unused_is_let_go_of() {
        let mut pool: Pool<str> = Pool::default();
        let (one, same) = (pool.get("a"), pool.get("a"));
        assert!(Arc::ptr_eq(&one, &same));
        for number in 0..100 * LEAST {
            drop(pool.get(&number.to_string()));
            assert!(pool.known.len() <= 2 * LEAST, "{} at {number}", pool.known.len());
        }
        assert!(pool.bytes() < 10 * 2 * LEAST, "{}", pool.bytes());
        assert!(Arc::ptr_eq(&one, &pool.get("a")));
    }

    #[test]
    fn few_that_are_large_are_let_go_of_too() {
        let mut pool: Pool<[u8]> = Pool::default();
        let kept = pool.get(&[0_u8].repeat(1 << 20));
        for number in 1..60_u8 {
            drop(pool.get(&[number].repeat(1 << 20)));
            assert!(pool.bytes() <= 2 * kept.len() + LEAST_BYTES, "{}", pool.bytes());
        }
    }
}
