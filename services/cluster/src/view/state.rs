//! What a view knows: the objects, the changes that made them so, and how far etcd was followed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fresh::{Fresh, Name};
use super::item::{Item, Key};
use super::pool::Pool;
use super::ring::{Change, Kept, Ring};
use super::shelf::{Bounds, Shelf};
use crate::keys::{Kind, Layout};
use crate::peers::etcd;

/// How often it is looked for what nobody has any more because there is no room.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct State {
    kind: Kind,
    bounds: Bounds,
    names: Pool<str>,
    values: Pool<[u8]>,
    /// When it was last looked for what nobody has any more.
    swept: Option<Instant>,
    pub shelf: Shelf,
    pub ring: Ring,
    /// All up to here is in it.
    pub revision: i64,
    /// Another one in each history of etcd.
    pub history: u64,
    /// When etcd last said anything.
    pub heard: Instant,
    /// Why etcd is not followed.
    pub trouble: Option<String>,
}

/// A change of etcd that was looked at.
pub(super) enum Seen {
    Put(Vec<u8>, Fresh),
    Gone(Vec<u8>, Option<Name>),
    /// With why.
    Unreadable(Vec<u8>, Option<Name>, crate::Error),
}

/// Looks at a change of etcd; answers it with its revision.
pub(super) fn see(layout: &Layout, kind: Kind, change: &etcd::Change) -> (i64, Seen) {
    match change {
        etcd::Change::Put(entry) => (entry.modified, see_entry(layout, kind, entry)),
        etcd::Change::Deleted { key, modified, .. } => {
            (*modified, Seen::Gone(key.to_vec(), Name::read(layout, kind, key).ok()))
        }
    }
}

/// Looks at what lies in etcd.
pub(super) fn see_entry(layout: &Layout, kind: Kind, entry: &etcd::Entry) -> Seen {
    let key = entry.key.to_vec();
    match Fresh::read(layout, kind, entry) {
        Ok(fresh) => Seen::Put(key, fresh),
        Err(error) => Seen::Unreadable(key, Name::read(layout, kind, &entry.key).ok(), error),
    }
}

impl State {
    pub fn new(kind: Kind, bounds: Bounds, kept: Kept) -> Self {
        Self {
            kind,
            bounds,
            names: Pool::default(),
            values: Pool::default(),
            swept: None,
            shelf: Shelf::default(),
            ring: Ring::new(kept),
            revision: 0,
            history: 0,
            heard: Instant::now(),
            trouble: None,
        }
    }

    fn shared(&self) -> usize {
        self.names.bytes() + self.values.bytes()
    }

    /// Lets go of what nobody has any more, but not for every object that there is no room for.
    fn sweep(&mut self) {
        if self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            self.names.sweep();
            self.values.sweep();
            self.swept = Some(Instant::now());
        }
    }

    /// Whether what was left out has room now.
    pub fn has_room(&mut self) -> bool {
        if self.shelf.left_out.count() > 0 {
            self.sweep();
        }
        self.shelf.has_room(self.bounds, self.shared())
    }

    /// Objects in etcd that are not shown.
    pub fn unshown(&self) -> u64 {
        self.shelf.unreadable.count() + self.shelf.left_out.count()
    }

    fn item(&mut self, fresh: Fresh, put: u64) -> Arc<Item> {
        let Fresh { name, revision, value } = fresh;
        let Key { node, namespace, name } = name.key();
        let shared = self.kind == Kind::Images;
        Arc::new(Item {
            node: self.names.get(node),
            namespace: self.names.get(namespace),
            name: if shared { self.names.get(name) } else { name.into() },
            revision,
            put,
            value: Some(if shared { self.values.get(&value) } else { value.into() }),
        })
    }

    /// Puts what was seen on a shelf: this one, or one that is being filled. Answers what changed by it.
    fn place(&mut self, shelf: &mut Shelf, seen: Seen, number: u64) -> Option<Change> {
        let (before, after) = match seen {
            Seen::Put(key, fresh) => {
                let item = self.item(fresh, number);
                if !shelf.fits(self.kind, &item, self.bounds, self.shared()) {
                    self.sweep();
                }
                shelf.put(self.kind, &key, item, self.bounds, self.shared())
            }
            Seen::Gone(key, name) => {
                (shelf.remove(self.kind, &key, name.as_ref().map(Name::key)), None)
            }
            Seen::Unreadable(key, name, error) => {
                let (before, new) = shelf.spoil(self.kind, &key, name.as_ref().map(Name::key));
                if new {
                    tracing::debug!(kind = self.kind.name(), %error, "object is not shown");
                }
                (before, None)
            }
        };
        (before.is_some() || after.is_some()).then_some(Change { before, after })
    }

    /// Puts a part of a listing on a shelf that is being filled. Nobody sees it there.
    pub fn list(&mut self, shelf: &mut Shelf, listed: impl IntoIterator<Item = Seen>) {
        // As what is listed is told as the next changes, or is there before all of them.
        let number = if self.revision == 0 { 0 } else { self.ring.next() };
        for seen in listed {
            self.place(shelf, seen, number);
        }
    }

    /// Takes a whole listing of `revision` in place of what there is. What differs are changes, but for
    /// the first listing; `anew`: revisions until now are of another history. Answers how many.
    pub fn adopt(&mut self, mut shelf: Shelf, revision: i64, anew: bool) -> u64 {
        let first = self.revision == 0;
        shelf.keep_from(&self.shelf);
        let changes = if first { Vec::new() } else { difference(&self.shelf, &shelf) };
        let count = changes.len() as u64;
        if first || anew {
            self.history += 1;
            self.ring.begin(revision);
        }
        self.ring.push(revision, revision, anew, changes);
        (self.shelf, self.revision, self.heard) = (shelf, revision, Instant::now());
        count
    }

    /// Takes changes that etcd told in their order, whole up to `whole`. Answers how many there are.
    pub fn apply(&mut self, seen: Vec<(i64, Seen)>, whole: i64) -> u64 {
        let whole = whole.max(self.revision);
        let mut shelf = std::mem::take(&mut self.shelf);
        let (mut group, mut of, mut count) = (Vec::new(), self.revision, 0);
        for (revision, seen) in seen {
            // Was told before.
            if revision <= self.revision {
                continue;
            }
            if revision > of {
                count += self.close(&mut group, of, of.min(whole));
                of = revision;
            }
            let number = self.ring.next() + group.len() as u64;
            group.extend(self.place(&mut shelf, seen, number));
        }
        count += self.close(&mut group, of, whole);
        (self.shelf, self.revision, self.heard) = (shelf, whole, Instant::now());
        count
    }

    fn close(&mut self, group: &mut Vec<Change>, revision: i64, whole: i64) -> u64 {
        let count = group.len() as u64;
        self.ring.push(revision, whole, false, std::mem::take(group));
        count
    }
}

/// What has to change in `old` to be `new`, in the order of names.
fn difference(old: &Shelf, new: &Shelf) -> Vec<Change> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let (before, after) = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => (old.next(), None),
            (None, Some(_)) => (None, new.next()),
            (Some(left), Some(right)) => match left.key().cmp(&right.key()) {
                std::cmp::Ordering::Less => (old.next(), None),
                std::cmp::Ordering::Greater => (None, new.next()),
                std::cmp::Ordering::Equal => (old.next(), new.next()),
            },
        };
        match (before, after) {
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {}
            (before, after) => {
                changes.push(Change { before: before.cloned(), after: after.cloned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Image, Object};
    use crate::peers::stored;

    /// A large one, unlike any other.
    fn image(number: usize) -> Vec<u8> {
        let digest = |number: usize| format!("sha256:{number:064x}").parse().unwrap();
        stored::encode(&Object::Image(Image {
            digest: digest(number),
            media_type: "m".into(),
            size: 1,
            complete: true,
            layers: (0..200).map(|layer| digest(1000 * number + layer)).collect(),
            missing: Vec::new(),
        }))
    }

    #[test]
    fn what_is_gone_takes_no_room_from_what_is_there() {
        let layout = Layout::new(&"c".parse().unwrap());
        let bounds = Bounds { objects: 10, bytes: 256 << 10 };
        let mut state = State::new(Kind::Images, bounds, Kept { changes: 1, bytes: 1 });
        state.adopt(Shelf::default(), 1, false);
        let key = bytes::Bytes::from("/berth/c/v1/images/n/default/i");
        // More than there are bytes for, each after the other.
        for number in 0..bounds.bytes / image(0).len() + 5 {
            let modified = state.revision + 1;
            let (key, value) = (key.clone(), image(number).into());
            let put = etcd::Change::Put(etcd::Entry { key, value, modified, lease: 0 });
            state.apply(vec![see(&layout, Kind::Images, &put)], modified);
            assert_eq!((state.shelf.len(), state.unshown()), (1, 0), "{number}");
        }
        assert!(state.shared() < bounds.bytes);
    }
}
