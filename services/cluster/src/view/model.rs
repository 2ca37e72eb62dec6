//! What a view knows and tells, against what etcd has, whatever happens there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::ring::{Found, Kept};
use super::shelf::{Bounds, Shelf};
use super::state::{State, see, see_entry};
use crate::keys::{Kind, Layout};
use crate::objects::{Image, Object};
use crate::peers::etcd::{Change, Entry};
use crate::peers::stored;

/// What becomes of one of a few keys.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One of a few images lies there now.
    Put(u8, u8),
    /// What lies there now cannot be read.
    Spoil(u8),
    Delete(u8),
    /// What happened since the last of these is told; false: it is lost, and all is listed.
    Tell(bool),
    /// Etcd has lost everything, and is at its first revision again.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_u8, 0..3_u8).prop_map(|(key, image)| Step::Put(key, image)),
        1 => (0..8_u8).prop_map(Step::Spoil),
        3 => (0..8_u8).prop_map(Step::Delete),
        4 => any::<bool>().prop_map(Step::Tell),
        1 => Just(Step::Lose),
    ]
}

/// What etcd has.
#[derive(Default)]
struct Etcd {
    revision: i64,
    there: BTreeMap<String, Entry>,
    /// Not told yet.
    changes: Vec<Change>,
    lost: bool,
}

fn key(number: u8) -> String {
    format!("/berth/c/v1/images/n-{}/default/i{number}", number % 3)
}

fn value(number: u8) -> Vec<u8> {
    let digest = format!("sha256:{:064x}", number).parse().unwrap();
    let (layers, missing) = (Vec::new(), Vec::new());
    let media_type = "m".into();
    stored::encode(&Object::Image(Image {
        digest,
        media_type,
        size: 1,
        complete: true,
        layers,
        missing,
    }))
}

impl Etcd {
    fn put(&mut self, key: String, value: Vec<u8>) {
        self.revision += 1;
        let (of, modified) = (key.clone().into(), self.revision);
        let entry = Entry { key: of, value: value.into(), modified, lease: 0 };
        self.changes.push(Change::Put(entry.clone()));
        self.there.insert(key, entry);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put(number, image) => self.put(key(number), value(image)),
            Step::Spoil(number) => self.put(key(number), b"\xff".to_vec()),
            Step::Delete(number) => {
                let key = key(number);
                if self.there.remove(&key).is_some() {
                    self.revision += 1;
                    let (key, modified) = (key.into(), self.revision);
                    self.changes.push(Change::Deleted { key, modified, previous: None });
                }
            }
            Step::Lose => *self = Self { revision: 1, lost: true, ..Self::default() },
            Step::Tell(_) => {}
        }
    }
}

/// A view with one who reads its changes.
struct Followed {
    layout: Layout,
    state: State,
    next: u64,
    known: BTreeMap<String, i64>,
}

impl Followed {
    fn new() -> Self {
        let bounds = Bounds { objects: 1000, bytes: 1 << 20 };
        let state = State::new(Kind::Images, bounds, Kept { changes: 1000, bytes: 1 << 20 });
        let layout = Layout::new(&"c".parse().unwrap());
        Self { layout, state, next: 1, known: BTreeMap::new() }
    }

    fn list(&mut self, etcd: &Etcd) {
        let mut shelf = Shelf::default();
        let seen = etcd.there.values().map(|entry| see_entry(&self.layout, Kind::Images, entry));
        let seen: Vec<_> = seen.collect();
        self.state.list(&mut shelf, seen);
        self.state.adopt(shelf, etcd.revision, etcd.lost);
    }

    fn tell(&mut self, etcd: &mut Etcd, watched: bool) {
        let changes = std::mem::take(&mut etcd.changes);
        if watched && !etcd.lost && self.state.revision > 0 {
            let seen = changes.iter().map(|change| see(&self.layout, Kind::Images, change));
            self.state.apply(seen.collect(), etcd.revision);
        } else {
            self.list(etcd);
        }
        etcd.lost = false;
    }

    /// Takes in what the ring has, as a watcher does; answers how far it is.
    fn read(&mut self) -> Option<i64> {
        let mut told = None;
        loop {
            match self.state.ring.at(self.next) {
                Found::Group(group) => {
                    for change in &group.changes {
                        let item = change.after.as_ref().or(change.before.as_ref()).unwrap();
                        let name = item.name.to_string();
                        let known = self.known.get(&name).copied();
                        // What it says was there was told before.
                        assert_eq!(change.before.as_ref().map(|item| item.revision()), known);
                        match &change.after {
                            Some(item) => _ = self.known.insert(name, item.revision()),
                            None => _ = self.known.remove(&name),
                        }
                    }
                    (self.next, told) = (group.end(), Some(group.whole));
                }
                Found::Dropped(count) => panic!("{count} changes are lost"),
                Found::End => return told,
            }
        }
    }

    fn shown(&self) -> BTreeMap<String, i64> {
        self.state.shelf.iter().map(|item| (item.name.to_string(), item.revision())).collect()
    }
}

proptest! {
    #[test]
    fn whoever_reads_the_changes_knows_what_etcd_has(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut etcd = Etcd { revision: 1, ..Etcd::default() };
        let mut followed = Followed::new();
        followed.list(&etcd);
        for step in steps.into_iter().chain([Step::Tell(true)]) {
            etcd.step(step);
            let Step::Tell(watched) = step else { continue };
            followed.tell(&mut etcd, watched);
            let told = followed.read();
            prop_assert!(told.is_none_or(|told| told <= followed.state.revision));
            let good = |entry: &&Entry| &entry.value[..] != b"\xff";
            let name = |key: &str| key.rsplit('/').next().unwrap().to_owned();
            let there = etcd.there.iter().filter(|(_, entry)| good(entry));
            let there: BTreeMap<_, _> =
                there.map(|(key, entry)| (name(key), entry.modified)).collect();
            prop_assert_eq!(&followed.shown(), &there);
            prop_assert_eq!(&followed.known, &there);
            let bad = etcd.there.len() - there.len();
            prop_assert_eq!(followed.state.unshown(), bad as u64);
            prop_assert_eq!(followed.state.revision, etcd.revision);
            // Who is there already has nothing to be told.
            let end = followed.state.ring.from(etcd.revision + 1);
            prop_assert_eq!(end, Some(followed.state.ring.next()));
        }
    }
}
