//! All objects of a view at one moment, within its bounds.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::item::{ByKey, FIXED, Item, Key, Named};
use super::unshown::Unshown;
use crate::keys::Kind;

/// How much a view shows.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Objects.
    pub objects: usize,
    /// Bytes that they take, about.
    pub bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Shelf {
    items: BTreeSet<ByKey>,
    /// That the items take beside what they share.
    bytes: usize,
    /// Keys of what cannot be read.
    pub unreadable: Unshown,
    /// Keys of what there is no room for.
    pub left_out: Unshown,
}

/// Bytes of an item alone. Images and their names are shared.
fn own_bytes(kind: Kind, item: &Item) -> usize {
    match kind {
        Kind::Images => FIXED,
        Kind::Nodes | Kind::Containers => FIXED + item.size(),
    }
}

impl Shelf {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.items.iter().map(|ByKey(item)| item)
    }

    /// Those behind `after`, or all, in their order.
    pub fn behind(&self, after: Option<Key<'_>>) -> impl Iterator<Item = &Arc<Item>> {
        let from = match &after {
            Some(key) => Bound::Excluded(key as &dyn Named),
            None => Bound::Unbounded,
        };
        self.items.range::<dyn Named, _>((from, Bound::Unbounded)).map(|ByKey(item)| item)
    }

    /// Whether there are bytes for one more item.
    pub fn fits(&self, kind: Kind, item: &Item, bounds: Bounds, shared: usize) -> bool {
        self.bytes + own_bytes(kind, item) + shared <= bounds.bytes
    }

    /// Puts an item in its place. Answers what was there, and what is there now: nothing if there is no
    /// room. `shared` is what all items share, in bytes.
    pub fn put(
        &mut self,
        kind: Kind,
        key: &[u8],
        item: Arc<Item>,
        bounds: Bounds,
        shared: usize,
    ) -> (Option<Arc<Item>>, Option<Arc<Item>>) {
        self.unreadable.remove(key);
        let before = self.take(kind, item.key());
        if self.items.len() >= bounds.objects || !self.fits(kind, &item, bounds, shared) {
            self.left_out.insert(key);
            return (before, None);
        }
        self.left_out.remove(key);
        self.bytes += own_bytes(kind, &item);
        self.items.insert(ByKey(item.clone()));
        (before, Some(item))
    }

    /// The key is gone from etcd. Answers what was shown of it.
    pub fn remove(&mut self, kind: Kind, key: &[u8], named: Option<Key<'_>>) -> Option<Arc<Item>> {
        self.unreadable.remove(key);
        self.left_out.remove(key);
        named.and_then(|named| self.take(kind, named))
    }

    /// What lies there cannot be read. Answers what was shown of it, and whether that is news.
    pub fn spoil(
        &mut self,
        kind: Kind,
        key: &[u8],
        named: Option<Key<'_>>,
    ) -> (Option<Arc<Item>>, bool) {
        self.left_out.remove(key);
        let new = self.unreadable.insert(key);
        (named.and_then(|named| self.take(kind, named)), new)
    }

    fn take(&mut self, kind: Kind, named: Key<'_>) -> Option<Arc<Item>> {
        let ByKey(item) = self.items.take(&named as &dyn Named)?;
        self.bytes -= own_bytes(kind, &item);
        Some(item)
    }

    /// Whether there is room again for what was left out.
    pub fn has_room(&self, bounds: Bounds, shared: usize) -> bool {
        let most = |bound: usize| bound / 10 * 9;
        self.left_out.count() > 0
            && self.items.len() <= most(bounds.objects)
            && self.bytes + shared <= most(bounds.bytes)
    }

    /// An item of `self` for an equal one of `earlier`, so that what did not change stays where it was.
    pub fn keep_from(&mut self, earlier: &Self) {
        let same = |new: &ByKey| {
            let old = earlier.items.get(new)?;
            let alike = old.0.revision == new.0.revision && old.0.value == new.0.value;
            alike.then(|| old.clone())
        };
        let kept = std::mem::take(&mut self.items);
        self.items = kept.into_iter().map(|new| same(&new).unwrap_or(new)).collect();
    }
}
