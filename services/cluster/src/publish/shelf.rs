//! What of one kind should be in etcd, what is there, and the difference.
//!
//! Owns: the bounds of a node: the first so many things in the order of their names are published, the rest
//! is counted. Must not know: how the truth is asked, and how etcd is written.
//!
//! Values are not kept but while they wait; what is in etcd is known by a hash.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use tokio::time::Instant;

use super::dirty::{Question, earlier};
use super::there::There;
use crate::keys::Held;
use crate::objects::Object;
use crate::truth::Holdings;

/// So many times what is published is known by name, so that it moves up when there is room.
const KNOWN: usize = 4;

/// Things of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    /// How many are published at most.
    most: usize,
    /// What the node holds, and whether it can be shown.
    names: BTreeMap<Held, bool>,
    /// What cannot be a key.
    unnamed: u64,
    /// What is held beyond [`KNOWN`].
    beyond: u64,
    /// What is in etcd: what hash its value has, or none if it is there otherwise than it should be.
    written: BTreeMap<Held, Option<u64>>,
    /// Those of `written` of which nobody knows whether they are there: what made or deleted them got no answer.
    doubted: BTreeSet<Held>,
    /// What is to be written, or deleted.
    pending: BTreeMap<Held, Pending>,
    /// Keys under the node's prefix that are none, to be deleted.
    strays: BTreeSet<String>,
}

#[derive(Debug)]
struct Pending {
    /// None: it is deleted.
    value: Option<Bytes>,
    since: Option<Instant>,
    /// When it began to wait.
    from: Instant,
}

/// One write that is due.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) place: Place,
    /// None: it is deleted.
    pub(super) value: Option<Bytes>,
    /// When its news came, if they did.
    pub(super) since: Option<Instant>,
}

/// Where.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// What the node holds.
    Held(Held),
    /// A key that is none of ours.
    Stray(String),
}

/// What is to be asked yet, after an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct More {
    /// All of the kind.
    pub(super) all: bool,
    /// These, for which there is room now.
    pub(super) these: Vec<Held>,
}

impl Shelf {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            names: BTreeMap::new(),
            unnamed: 0,
            beyond: 0,
            written: BTreeMap::new(),
            doubted: BTreeSet::new(),
            pending: BTreeMap::new(),
            strays: BTreeSet::new(),
        }
    }

    /// This is in etcd. Answers how much of it is not what was written. All of the kind is to be asked next.
    pub(super) fn found(&mut self, there: There) -> u64 {
        let other = |held: &&Held| self.written.get(*held) != there.held.get(*held);
        let gone = self.written.keys().filter(|held| !there.held.contains_key(held)).count();
        let differ = there.held.keys().filter(other).count() + gone;
        let strays = there.strays.iter().filter(|key| !self.strays.contains(*key)).count();
        self.written = there.held;
        self.doubted.clear();
        let written = &self.written;
        self.pending.retain(|held, it| it.value.is_some() || written.contains_key(held));
        self.strays = there.strays.into_iter().collect();
        (differ + strays) as u64
    }

    /// Takes the truth's answer; `encode` makes a value, or none of what cannot be shown.
    pub(super) fn answer(
        &mut self,
        question: &Question,
        holdings: Holdings,
        hasher: &RandomState,
        encode: impl Fn(&Held, &Object) -> Option<Bytes>,
    ) -> More {
        let found: BTreeMap<Held, Object> = holdings
            .found
            .into_iter()
            .filter(|holding| question.covers(&holding.held))
            .map(|holding| (holding.held, holding.object))
            .collect();
        self.know(question, &found, holdings.left_out);
        let outside = self.names.keys().nth(self.most).cloned();
        let inside = |held: &Held| outside.as_ref().is_none_or(|outside| held < outside);
        for (held, object) in found.iter().filter(|(held, _)| inside(held)) {
            let value = encode(held, object);
            self.names.insert(held.clone(), value.is_some());
            self.compare(held, value, question.since(held), hasher);
        }
        self.clear(&inside, question);
        let waits = |held: &Held| self.pending.get(held).is_some_and(|it| it.value.is_some());
        let there =
            |held: &Held| self.written.contains_key(held) && !self.pending.contains_key(held);
        let these = self.names.iter().take(self.most);
        let these = these.filter(|(held, shown)| **shown && !waits(held) && !there(held));
        More {
            all: self.beyond > 0 && self.names.len() < self.most,
            these: these.map(|(held, _)| held.clone()).collect(),
        }
    }

    /// Takes the names.
    fn know(&mut self, question: &Question, found: &BTreeMap<Held, Object>, left_out: u64) {
        self.names.retain(|held, _| !question.covers(held) || found.contains_key(held));
        if question.is_all() {
            (self.unnamed, self.beyond) = (left_out, 0);
        }
        for held in found.keys() {
            self.names.insert(held.clone(), true);
        }
        while self.names.len() > self.most.saturating_mul(KNOWN) {
            self.names.pop_last();
            // What is beyond is told again with each of its changes: it was counted by the listing.
            self.beyond = if question.is_all() { self.beyond + 1 } else { self.beyond.max(1) };
        }
    }

    fn compare(
        &mut self,
        held: &Held,
        value: Option<Bytes>,
        since: Option<Instant>,
        hasher: &RandomState,
    ) {
        let wanted = value.as_ref().map(|value| hasher.hash_one(value));
        let is = self.written.get(held);
        if is.copied() == wanted.map(Some) {
            self.pending.remove(held);
        } else {
            self.wait(held.clone(), value, since);
        }
    }

    fn wait(&mut self, held: Held, value: Option<Bytes>, since: Option<Instant>) {
        let before = self.pending.remove(&held);
        let from = before.as_ref().map_or_else(Instant::now, |before| before.from);
        let since = earlier(since, before.and_then(|before| before.since));
        self.pending.insert(held, Pending { value, since, from });
    }

    /// What is not held, or not within the bounds any more, goes.
    fn clear(&mut self, inside: &impl Fn(&Held) -> bool, question: &Question) {
        let names = &self.names;
        let stays = |held: &Held| names.get(held).is_some_and(|shown| *shown) && inside(held);
        self.pending.retain(|held, pending| stays(held) || pending.value.is_none());
        let gone = self.written.keys().filter(|held| !stays(held)).cloned().collect::<Vec<_>>();
        for held in gone {
            let since = question.covers(&held).then(|| question.since(&held)).flatten();
            self.wait(held, None, since);
        }
        // A deletion of what is not there has nothing to do.
        let written = &self.written;
        self.pending.retain(|held, it| it.value.is_some() || written.contains_key(held));
    }

    /// What is to be written next, what waits longest first: at most `room` things.
    pub(super) fn due(&self, room: usize) -> Vec<Due> {
        let mut pending: Vec<_> = self.pending.iter().collect();
        if pending.len() > room {
            pending.sort_by_key(|(_, pending)| pending.from);
        }
        let pending = pending.into_iter().map(|(held, pending)| Due {
            place: Place::Held(held.clone()),
            value: pending.value.clone(),
            since: pending.since,
        });
        let strays = self.strays.iter().map(|key| Due {
            place: Place::Stray(key.clone()),
            value: None,
            since: None,
        });
        pending.chain(strays).take(room).collect()
    }

    /// Etcd has it.
    pub(super) fn made(&mut self, due: &Due, hasher: &RandomState) {
        match &due.place {
            Place::Held(held) => {
                self.pending.remove(held);
                self.doubted.remove(held);
                match &due.value {
                    Some(value) => {
                        self.written.insert(held.clone(), Some(hasher.hash_one(value)));
                    }
                    None => _ = self.written.remove(held),
                }
            }
            Place::Stray(key) => _ = self.strays.remove(key),
        }
    }

    /// Nobody knows whether etcd has it, or will have it. It waits on.
    pub(super) fn doubt(&mut self, due: &Due) {
        if let Place::Held(held) = &due.place {
            // What is there and is written again is there in any case.
            if !(self.is_there(held) && due.value.is_some()) {
                self.doubted.insert(held.clone());
            }
            self.written.insert(held.clone(), None);
        }
    }

    /// How much waits to be written.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len() + self.strays.len()
    }

    /// What waits, as what is to be asked again.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = (Held, Instant)> {
        self.pending.iter().filter_map(|(held, pending)| Some((held.clone(), pending.since?)))
    }

    /// Whether etcd is known to have it, as it should be or otherwise.
    fn is_there(&self, held: &Held) -> bool {
        self.written.contains_key(held) && !self.doubted.contains(held)
    }

    /// How many are known to be in etcd when `due` is.
    pub(super) fn published<'d>(&self, due: impl Iterator<Item = &'d Due>) -> u64 {
        let mut there = self.written.len() - self.doubted.len();
        for due in due {
            if let Place::Held(held) = &due.place {
                match (self.is_there(held), due.value.is_some()) {
                    (false, true) => there += 1,
                    (true, false) => there -= 1,
                    _ => {}
                }
            }
        }
        there as u64
    }

    /// How many are not published.
    pub(super) fn left_out(&self) -> u64 {
        let shown = self.names.values().take(self.most).filter(|shown| **shown).count();
        (self.names.len() - shown) as u64 + self.unnamed + self.beyond
    }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
