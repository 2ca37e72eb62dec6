//! The changes of late, for watchers: bounded, in order, found by their number or their revision.

use std::collections::VecDeque;
use std::sync::Arc;

use super::item::{FIXED, Item};

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// What was there, if anything.
    pub before: Option<Arc<Item>>,
    /// What is there now, if anything.
    pub after: Option<Arc<Item>>,
}

/// Changes that belong together: those of one revision, or what two listings differ in.
#[derive(Debug)]
pub(super) struct Group {
    /// The number of its first change. Numbers count all changes of a view, and have no gaps.
    pub first: u64,
    /// Of its changes; the latest if there are several.
    pub revision: i64,
    /// All up to here has been told with it.
    pub whole: i64,
    /// What etcd told before is of another history: revisions begin anew.
    pub anew: bool,
    pub changes: Box<[Change]>,
}

impl Group {
    /// The number of the change after its last one.
    pub fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    fn bytes(&self) -> usize {
        let of = |item: &Option<Arc<Item>>| item.as_ref().map_or(0, |item| FIXED + item.size());
        size_of::<Self>()
            + self.changes.iter().map(|it| of(&it.before) + of(&it.after)).sum::<usize>()
    }
}

/// What is at a place in the ring.
pub(super) enum Found {
    /// These.
    Group(Arc<Group>),
    /// So many that were there are not kept any more.
    Dropped(u64),
    /// Nothing yet.
    End,
}

/// How much is kept. The newest group always is.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Changes.
    pub changes: usize,
    /// Bytes of the objects before and after, about.
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Ring {
    groups: VecDeque<(Arc<Group>, usize)>,
    kept: Kept,
    changes: usize,
    bytes: usize,
    /// The number of the next change.
    next: u64,
    /// From this change on revisions are those of etcd's history of now.
    since: u64,
    /// All changes of that history after this revision are here.
    floor: i64,
}

impl Ring {
    pub fn new(kept: Kept) -> Self {
        let groups = VecDeque::new();
        Self { groups, kept, changes: 0, bytes: 0, next: 1, since: 1, floor: 0 }
    }

    /// The number of the next change.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What was told until now is whole up to `revision`; another history of etcd begins with it.
    pub fn begin(&mut self, revision: i64) {
        (self.since, self.floor) = (self.next, revision);
    }

    /// Adds changes that belong together, and lets go of the oldest that there is no room for.
    pub fn push(&mut self, revision: i64, whole: i64, anew: bool, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let group = Group { first: self.next, revision, whole, anew, changes: changes.into() };
        let bytes = group.bytes();
        self.next = group.end();
        self.changes += group.changes.len();
        self.bytes += bytes;
        self.groups.push_back((Arc::new(group), bytes));
        while self.groups.len() > 1
            && (self.changes > self.kept.changes || self.bytes > self.kept.bytes)
        {
            let Some((oldest, bytes)) = self.groups.pop_front() else { break };
            self.changes -= oldest.changes.len();
            self.bytes -= bytes;
            if oldest.first >= self.since {
                self.floor = self.floor.max(oldest.revision);
            }
        }
    }

    /// The group that begins with change `number`.
    pub fn at(&self, number: u64) -> Found {
        let index = self.groups.partition_point(|(group, _)| group.first < number);
        match self.groups.get(index) {
            Some((group, _)) if group.first == number => Found::Group(group.clone()),
            Some((group, _)) => Found::Dropped(group.first - number),
            None if number < self.next => Found::Dropped(self.next - number),
            None => Found::End,
        }
    }

    /// The number of the first change of `revision` or later; None when not all of those are kept.
    pub fn from(&self, revision: i64) -> Option<u64> {
        if revision <= self.floor {
            return None;
        }
        let earlier = |group: &Group| group.first < self.since || group.revision < revision;
        let index = self.groups.partition_point(|(group, _)| earlier(group));
        Some(self.groups.get(index).map_or(self.next, |(group, _)| group.first))
    }

    /// How many changes are from `number` on.
    pub fn behind(&self, number: u64) -> u64 {
        self.next.saturating_sub(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        let name: Arc<str> = "n".into();
        let (namespace, node) = (name.clone(), name.clone());
        let item = Item { node, namespace, name, revision: 1, put: 1, value: None };
        Change { before: None, after: Some(Arc::new(item)) }
    }

    fn push(ring: &mut Ring, revision: i64, count: usize) {
        ring.push(revision, revision, false, vec![change(); count]);
    }

    fn first(found: Found) -> Result<u64, u64> {
        match found {
            Found::Group(group) => Ok(group.first),
            Found::Dropped(count) => Err(count),
            Found::End => Err(0),
        }
    }

    #[test]
    fn changes_are_found_by_number_and_by_revision() {
        let mut ring = Ring::new(Kept { changes: 6, bytes: 1 << 20 });
        ring.begin(10);
        for (revision, count) in [(12, 2), (15, 1), (16, 3)] {
            push(&mut ring, revision, count);
        }
        assert_eq!(
            [10, 11, 12, 13, 15, 16, 17].map(|revision| ring.from(revision)),
            [None, Some(1), Some(1), Some(3), Some(3), Some(4), Some(7)]
        );
        assert_eq!(
            [1, 3, 4, 7].map(|number| first(ring.at(number))),
            [Ok(1), Ok(3), Ok(4), Err(0)]
        );
        push(&mut ring, 20, 1);
        assert_eq!((ring.from(12), ring.from(13)), (None, Some(3)));
        assert_eq!(first(ring.at(1)), Err(2));
        assert_eq!(ring.behind(3), 5);
    }

    #[test]
    fn the_newest_is_kept_however_large_and_no_bytes_beyond_bounds() {
        let mut ring = Ring::new(Kept { changes: 10, bytes: 10_000 });
        push(&mut ring, 1, 100);
        assert_eq!(first(ring.at(1)), Ok(1));
        push(&mut ring, 2, 1);
        assert_eq!(first(ring.at(1)), Err(100));
        let mut ring = Ring::new(Kept { changes: 1000, bytes: 10_000 });
        for revision in 0..1000 {
            push(&mut ring, revision, 1);
        }
        assert!(ring.bytes <= 10_000 && ring.groups.len() > 10, "{}", ring.groups.len());
    }

    #[test]
    fn revisions_of_another_history_are_not_found() {
        let mut ring = Ring::new(Kept { changes: 100, bytes: 1 << 20 });
        push(&mut ring, 1000, 1);
        push(&mut ring, 1001, 1);
        ring.begin(5);
        ring.push(5, 5, true, vec![change(); 2]);
        // Those are found by number, as who reads already does.
        assert_eq!(first(ring.at(2)), Ok(2));
        push(&mut ring, 7, 1);
        assert_eq!([5, 6, 7, 8].map(|it| ring.from(it)), [None, Some(5), Some(5), Some(6)]);
    }
}
