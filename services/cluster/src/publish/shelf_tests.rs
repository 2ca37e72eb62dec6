use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::keys::Kind;
use crate::objects::Image;
use crate::publish::dirty::Dirty;
use crate::truth::{Asked, Holding, News};

/// What a node holds, and what cannot be a key.
type Truth = BTreeMap<Held, u64>;

fn held(number: usize) -> Held {
    let namespace = ["a", "b"][number % 2];
    Held::new(Kind::Images, namespace, &format!("i{number:02}")).unwrap()
}

fn image(size: u64) -> Object {
    Object::Image(Image {
        digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
        media_type: String::new(),
        size,
        complete: true,
        layers: Vec::new(),
        missing: Vec::new(),
    })
}

/// Sizes that end in 9 cannot be shown.
fn encode(_: &Held, object: &Object) -> Option<Bytes> {
    let Object::Image(image) = object else { panic!("{object:?}") };
    (image.size % 10 != 9).then(|| Bytes::from(image.size.to_string()))
}

fn holdings(truth: &Truth, asked: &Asked) -> Holdings {
    let wanted = |held: &Held| match asked {
        Asked::All(_) => true,
        Asked::Namespace(_, namespace) => held.namespace == *namespace,
        Asked::These(_, these) => these.contains(held),
    };
    let found = truth.iter().filter(|(held, _)| wanted(held));
    let found = found.map(|(held, size)| Holding { held: held.clone(), object: image(*size) });
    Holdings { found: found.collect(), left_out: 0 }
}

/// A node and its etcd, with what lies between them.
struct World {
    truth: Truth,
    etcd: BTreeMap<Held, Bytes>,
    shelf: Shelf,
    dirty: Dirty,
    hasher: RandomState,
    /// Some writes got no answer.
    doubted: bool,
}

impl World {
    fn new(most: usize) -> Self {
        let mut dirty = Dirty::default();
        dirty.add(News::Gap(Kind::Images), Instant::now());
        let (truth, etcd) = Default::default();
        let (shelf, hasher) = (Shelf::new(most), RandomState::new());
        Self { truth, etcd, shelf, dirty, hasher, doubted: false }
    }

    fn change(&mut self, number: usize, size: Option<u64>) {
        match size {
            Some(size) => self.truth.insert(held(number), size),
            None => self.truth.remove(&held(number)),
        };
        self.dirty.add(News::Changed(held(number)), Instant::now());
    }

    fn ask(&mut self) -> bool {
        let Some(question) = self.dirty.take(Kind::Images) else { return false };
        let answer = holdings(&self.truth, &question.asked());
        let more = self.shelf.answer(&question, answer, &self.hasher, encode);
        if more.all {
            self.dirty.mark(Kind::Images);
        }
        self.dirty.names(more.these.into_iter().map(|held| (held, Instant::now())));
        true
    }

    fn write(&mut self, room: usize) -> usize {
        let due = self.shelf.due(room);
        assert!(due.len() <= room);
        for due in &due {
            self.apply(due);
            self.shelf.made(due, &self.hasher);
        }
        due.len()
    }

    /// A write without an answer, which was made or was not.
    fn doubt(&mut self, room: usize, made: bool) {
        let due = self.shelf.due(room);
        self.doubted |= !due.is_empty();
        for due in &due {
            if made {
                self.apply(due);
            }
            self.shelf.doubt(due);
        }
    }

    fn apply(&mut self, due: &Due) {
        let Place::Held(held) = &due.place else { return };
        match &due.value {
            Some(value) => _ = self.etcd.insert(held.clone(), value.clone()),
            None => {
                let there = self.etcd.remove(held).is_some();
                assert!(there || self.doubted, "{held:?} is not there");
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.ask() && self.write(7) == 0 {
                return;
            }
        }
        panic!("it does not settle");
    }

    /// What is there, as a reader of etcd finds it.
    fn there(&self, strays: &[&str]) -> There {
        let held = self.etcd.iter();
        let held = held.map(|(held, value)| (held.clone(), Some(self.hasher.hash_one(value))));
        let strays = strays.iter().map(|&key| key.to_owned()).collect();
        There { held: held.collect(), strays, cut: false }
    }

    /// Etcd has the first `most`, as they are, and the rest is counted.
    fn assert_whole(&self, most: usize) {
        let first = self.truth.iter().take(most).filter(|(_, size)| **size % 10 != 9);
        let expected: BTreeMap<_, _> =
            first.map(|(held, size)| (held.clone(), Bytes::from(size.to_string()))).collect();
        assert_eq!(self.etcd, expected);
        assert_eq!(self.shelf.published([].iter()), expected.len() as u64);
        assert_eq!(self.shelf.waiting(), 0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change(usize, Option<u64>),
    Namespace(&'static str),
    Ask,
    Write(usize),
    Doubt(usize, bool),
    Garble(usize, Option<u8>),
    Compare,
    Again,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..40, prop::option::of(0_u64..100)).prop_map(|(at, size)| Step::Change(at, size)),
        1 => prop::sample::select(vec!["a", "b"]).prop_map(Step::Namespace),
        4 => Just(Step::Ask),
        4 => (0_usize..9).prop_map(Step::Write),
        1 => (0_usize..9, any::<bool>()).prop_map(|(room, made)| Step::Doubt(room, made)),
        1 => (0_usize..40, prop::option::of(any::<u8>())).prop_map(|(at, to)| Step::Garble(at, to)),
        1 => Just(Step::Compare),
        1 => Just(Step::Again),
    ]
}

proptest! {
    #[test]
    fn etcd_becomes_what_the_node_holds(
        most in 1_usize..50,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(most);
        for step in steps {
            // Whatever became of a write that got no answer.
            prop_assert!(world.shelf.published([].iter()) <= world.etcd.len() as u64);
            match step {
                Step::Change(number, size) => world.change(number, size),
                Step::Namespace(namespace) => {
                    world.truth.retain(|held, size| &*held.namespace != namespace || *size % 2 == 0);
                    let news = News::Namespace(Kind::Images, namespace.into());
                    world.dirty.add(news, Instant::now());
                }
                Step::Ask => _ = world.ask(),
                Step::Write(room) => _ = world.write(room),
                Step::Doubt(room, made) => world.doubt(room, made),
                // By hand; what is done about it is told by the next comparison.
                Step::Garble(number, to) => {
                    match to {
                        Some(to) => world.etcd.insert(held(number), vec![b'x', to].into()),
                        None => world.etcd.remove(&held(number)),
                    };
                    world.shelf.found(world.there(&[]));
                    world.dirty.mark(Kind::Images);
                }
                Step::Compare => {
                    let differ = world.shelf.found(world.there(&[]));
                    prop_assert!(differ == 0 || world.doubted, "{} differ", differ);
                    world.dirty.mark(Kind::Images);
                }
                // A new registration that finds what the one before has left.
                Step::Again => {
                    world.shelf = Shelf::new(most);
                    world.shelf.found(world.there(&[]));
                    world.dirty.mark(Kind::Images);
                }
            }
        }
        world.settle();
        world.assert_whole(most);
        world.dirty.mark(Kind::Images);
        prop_assert!(world.ask());
        prop_assert_eq!(world.shelf.waiting(), 0);
        // Those that cannot be shown among the first, and all behind them.
        let published = world.etcd.len();
        prop_assert_eq!(world.shelf.left_out() as usize, world.truth.len() - published);
    }
}

#[test]
fn what_a_predecessor_left_is_compared_and_only_differences_are_written() {
    let mut world = World::new(10);
    (0..5).for_each(|number| world.change(number, Some(number as u64)));
    world.settle();
    world.truth.remove(&held(1));
    world.truth.insert(held(2), 77);
    world.truth.insert(held(8), 8);
    world.shelf = Shelf::new(10);
    world.shelf.found(world.there(&["/stray"]));
    world.dirty.mark(Kind::Images);
    world.ask();
    let due: Vec<_> = world.shelf.due(100).into_iter().map(|due| due.place).collect();
    let names = due.iter().map(|place| match place {
        Place::Held(held) => held.name.to_string(),
        Place::Stray(key) => key.clone(),
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["/stray", "i01", "i02", "i08"]);
    world.settle();
    world.assert_whole(10);
}

#[test]
fn what_goes_with_another_lease_is_written_again() {
    let mut world = World::new(10);
    world.change(1, Some(1));
    world.settle();
    let mut there = world.there(&[]);
    there.held.insert(held(1), None);
    assert_eq!(world.shelf.found(there), 1);
    world.dirty.mark(Kind::Images);
    assert!(world.ask());
    assert_eq!(world.write(10), 1);
}

#[test]
fn what_may_have_been_written_is_written_again_though_it_is_as_it_was_before() {
    let mut world = World::new(10);
    world.change(1, Some(1));
    world.settle();
    for made in [false, true] {
        world.change(1, Some(2));
        world.change(3, Some(3));
        assert!(world.ask());
        world.doubt(9, made);
        world.change(1, Some(1));
        world.change(3, None);
        assert!(world.ask());
        assert_eq!(world.write(9), 2, "made: {made}");
        world.assert_whole(10);
    }
}

#[test]
fn what_may_be_there_or_not_does_not_count_as_published() {
    let mut world = World::new(10);
    world.change(1, Some(1));
    world.change(2, Some(1));
    world.settle();
    let published = |world: &World| world.shelf.published([].iter());
    assert_eq!(published(&world), 2);
    // One is written again, which leaves it there; one is deleted, and one is new.
    world.change(1, Some(2));
    world.change(2, None);
    world.change(3, Some(1));
    assert!(world.ask());
    let due = world.shelf.due(9);
    assert_eq!(world.shelf.published(due.iter()), 2, "when all of it is made");
    world.doubt(9, true);
    assert_eq!((published(&world), world.shelf.waiting()), (1, 3));
    world.doubt(9, false);
    let due = world.shelf.due(9);
    assert_eq!((published(&world), world.shelf.published(due.iter())), (1, 2));
    world.settle();
    assert_eq!(published(&world), 2);
    world.change(3, Some(2));
    assert!(world.ask());
    world.doubt(9, false);
    world.shelf.found(world.there(&[]));
    assert_eq!(published(&world), 2, "a reading says what is there");
}

#[test]
fn names_that_are_known_are_bounded_and_move_up() {
    let mut world = World::new(3);
    (0..30).for_each(|number| _ = world.truth.insert(held(number), 1));
    world.settle();
    assert_eq!((world.shelf.names.len(), world.shelf.beyond), (12, 18));
    assert_eq!(world.shelf.left_out(), 27);
    world.assert_whole(3);
    // All that were known go: those beyond are listed.
    let gone: Vec<_> = world.truth.keys().take(12).cloned().collect();
    for held in gone {
        world.truth.remove(&held);
        world.dirty.add(News::Changed(held), Instant::now());
    }
    world.settle();
    world.assert_whole(3);
    assert_eq!(world.shelf.left_out(), 15);
}

#[test]
fn what_waits_longest_goes_first() {
    let mut world = World::new(100);
    world.settle();
    for number in [30, 4, 17] {
        world.change(number, Some(1));
        world.ask();
    }
    let first = |world: &World| match &world.shelf.due(1)[0].place {
        Place::Held(held) => held.clone(),
        Place::Stray(key) => panic!("{key}"),
    };
    assert_eq!(first(&world), held(30));
    // A newer value has the place of the one before.
    world.change(30, Some(2));
    world.ask();
    assert_eq!(first(&world), held(30));
    world.write(1);
    assert_eq!(first(&world), held(4));
    let names: Arc<str> = "i04".into();
    assert_eq!(first(&world).name, names);
}
