//! What clients may count on.

use std::collections::{BTreeMap, BTreeSet};

use berth_testkit::sha256;

/// Something that a collection may drop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// By its digest.
    Blob(String),
    /// By its key.
    Snapshot(String),
    /// One whose time is over, by its name: it stays while something refers to it.
    Image(String),
    /// Activated mounts, by their name.
    Mount(String),
    /// What is being written, by its reference. Only leases keep it.
    Ingest(String),
}

impl Thing {
    /// The blob that is this text.
    pub fn of_text(text: &str) -> Self {
        Self::Blob(sha256(text.as_bytes()))
    }

    /// Its digest or key.
    pub fn name(&self) -> &str {
        match self {
            Self::Blob(name) | Self::Snapshot(name) | Self::Image(name) => name,
            Self::Mount(name) | Self::Ingest(name) => name,
        }
    }

    /// Whether labels can name it.
    pub fn can_be_named(&self) -> bool {
        !matches!(self, Self::Ingest(_))
    }

    /// Whether labels of others can name it as what keeps them.
    pub fn can_keep(&self) -> bool {
        !matches!(self, Self::Mount(_) | Self::Ingest(_))
    }

    /// Whether a client can give it to a lease and take it away.
    pub fn can_be_held(&self) -> bool {
        matches!(self, Self::Blob(_) | Self::Snapshot(_) | Self::Image(_))
    }

    /// Whether its labels can be replaced.
    pub fn can_be_labelled(&self) -> bool {
        matches!(self, Self::Blob(_) | Self::Snapshot(_))
    }

    /// Whether bundle has it; otherwise distribution does.
    fn is_of_bundle(&self) -> bool {
        matches!(self, Self::Snapshot(_) | Self::Mount(_))
    }
}

/// Something that was made and, if nothing reached it since, may be gone.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// A snapshot's parent, an image's target: what is kept with it also by a flat lease.
    pub structure: Option<Thing>,
    /// What its labels name.
    pub refs: BTreeSet<Thing>,
    /// The snapshots that its labels name besides, to keep those that were used just now.
    pub conditions: BTreeSet<Thing>,
    /// It says that it was used just now.
    pub recent: bool,
    /// What its labels name as keeping it.
    pub keepers: BTreeSet<Thing>,
    /// It can be a parent.
    pub committed: bool,
    /// These tests made it, not a pull.
    pub own: bool,
}

impl Made {
    /// Without those that keep it.
    fn alone(self) -> Self {
        Self { keepers: BTreeSet::new(), ..self }
    }
}

#[derive(Default)]
pub struct Model {
    pub made: BTreeMap<Thing, Made>,
    /// What pulls bring back whenever it is gone.
    pub pulled: BTreeMap<Thing, Made>,
    /// What each names.
    pub images: BTreeMap<String, Thing>,
    /// What each refers to.
    pub containers: BTreeMap<String, BTreeSet<Thing>>,
    /// What each refers to.
    pub sandboxes: BTreeMap<String, BTreeSet<Thing>>,
    /// What each holds.
    pub leases: BTreeMap<String, BTreeSet<Thing>>,
    /// The leases that hold things without what these refer to, but for parents.
    pub flat: BTreeSet<String>,
}

impl Model {
    /// All that images, containers, sandboxes and leases lead to, and what flat leases hold.
    pub fn reachable(&self) -> BTreeSet<Thing> {
        let mut reached = self.whole();
        for lease in &self.flat {
            for thing in self.leases.get(lease).into_iter().flatten() {
                let mut next = Some(thing);
                while let Some((thing, made)) = next.and_then(|t| self.made.get_key_value(t)) {
                    reached.insert(thing.clone());
                    next = made.structure.as_ref();
                }
            }
        }
        reached
    }

    /// What is reached with all that it refers to: not by flat leases alone.
    pub fn whole(&self) -> BTreeSet<Thing> {
        self.reached_from(self.roots())
    }

    /// What those of the flat things that are whole by now lead to: it may have been collected before
    /// they were.
    pub fn made_whole(&self, flat: &BTreeSet<Thing>) -> BTreeSet<Thing> {
        let whole = self.whole();
        self.reached_from(flat.intersection(&whole))
    }

    /// What of `things` is reached by nothing but back references: it may have been collected before
    /// what it names was there again.
    pub fn kept_alone<'a>(&self, things: impl Iterator<Item = &'a Thing>) -> Vec<Thing> {
        let without = Self {
            made: self
                .made
                .clone()
                .into_iter()
                .map(|(thing, made)| (thing, made.alone()))
                .collect(),
            pulled: BTreeMap::new(),
            images: self.images.clone(),
            containers: self.containers.clone(),
            sandboxes: self.sandboxes.clone(),
            leases: self.leases.clone(),
            flat: self.flat.clone(),
        };
        let reached = without.reachable();
        things.filter(|thing| !reached.contains(*thing)).cloned().collect()
    }

    fn roots(&self) -> impl Iterator<Item = &Thing> {
        let leases = self.leases.iter().filter(|(id, _)| !self.flat.contains(*id));
        let leases = leases.map(|(_, held)| held);
        let named = self.containers.values().chain(self.sandboxes.values());
        self.images.values().chain(named.chain(leases).flatten())
    }

    /// Whether a reference would make a circle through both kinds: no service could drop it whole,
    /// and so none does (docs/adr/0002-garbage-collection.md).
    pub fn is_circle(&self, from: &Thing, to: &Thing) -> bool {
        let reached = self.may_reach([to]);
        let other = |thing: &Thing| thing.is_of_bundle() != from.is_of_bundle();
        reached.contains(from) && reached.iter().any(other)
    }

    /// Whether a label of something that was made names it.
    pub fn is_named(&self, thing: &Thing) -> bool {
        let named = |made: &Made| {
            [&made.refs, &made.conditions, &made.keepers].map(|all| all.contains(thing))
        };
        self.made.values().any(|made| named(made).contains(&true))
    }

    /// What things lead to.
    fn reached_from<'a>(&'a self, things: impl IntoIterator<Item = &'a Thing>) -> BTreeSet<Thing> {
        self.follow(things, false)
    }

    /// What things may come to lead to: also once what is gone is pulled again, and conditions are met.
    fn may_reach<'a>(&'a self, things: impl IntoIterator<Item = &'a Thing>) -> BTreeSet<Thing> {
        self.follow(things, true)
    }

    fn follow<'a>(
        &'a self,
        things: impl IntoIterator<Item = &'a Thing>,
        maybe: bool,
    ) -> BTreeSet<Thing> {
        let mut queue: Vec<&Thing> = things.into_iter().collect();
        let mut reached = BTreeSet::new();
        while let Some(thing) = queue.pop() {
            // A name of what is not there leads nowhere.
            let pulled = || self.pulled.get(thing).filter(|_| maybe);
            let Some(made) = self.made.get(thing).or_else(pulled) else { continue };
            if reached.insert(thing.clone()) {
                queue.extend(made.refs.iter().chain(&made.structure));
                let recent = |to: &&Thing| self.made.get(*to).is_some_and(|made| made.recent);
                queue.extend(made.conditions.iter().filter(|to| maybe || recent(to)));
                let kept = self.made.iter().filter(|(_, made)| made.keepers.contains(thing));
                queue.extend(kept.map(|(thing, _)| thing));
            }
        }
        reached
    }

    /// Whether one of these leads to it, so that it cannot keep what refers to them.
    pub fn leads_to(&self, things: &BTreeSet<Thing>, to: &Thing) -> bool {
        self.may_reach(things).contains(to)
    }

    /// It was collected, or removed.
    pub fn gone(&mut self, thing: &Thing) {
        self.made.remove(thing);
    }
}
