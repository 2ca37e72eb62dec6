//! What clients may count on.

use std::collections::{BTreeMap, BTreeSet};

/// A blob of the model.
#[derive(Clone, Debug, Default)]
pub struct Blob {
    /// Those that its labels refer to.
    pub refs: Vec<u32>,
    /// The snapshots that they refer to, those of conditions that are met among them.
    pub snapshots: Vec<u32>,
    /// It is a root.
    pub root: bool,
    /// What keeps it, from its side.
    pub keeper: Option<Thing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    Blob(u32),
    Snapshot(u32),
}

/// What must be there: the model.
#[derive(Default)]
pub struct Model {
    pub blobs: BTreeMap<u32, Blob>,
    /// Images by number, with what they name.
    pub images: BTreeMap<u32, u32>,
    /// What the one lease holds.
    pub leased: BTreeSet<u32>,
    /// What the flat lease holds.
    pub flat: BTreeSet<u32>,
}

impl Model {
    /// Blobs and snapshots that have to be there.
    pub fn reachable(&self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let (mut blobs, snapshots) = self.whole();
        blobs.extend(self.flat.iter().filter(|number| self.blobs.contains_key(number)));
        (blobs, snapshots)
    }

    /// Those of them that are there with all that they refer to.
    pub fn whole(&self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let roots = self.blobs.iter().filter(|(_, blob)| blob.root).map(|(number, _)| number);
        let roots = roots.chain(self.images.values()).chain(&self.leased);
        let reached = self.reached_from(roots.map(|number| Thing::Blob(*number)).collect());
        let (mut blobs, mut snapshots) = (BTreeSet::new(), BTreeSet::new());
        for thing in reached {
            match thing {
                Thing::Blob(number) => blobs.insert(number),
                Thing::Snapshot(number) => snapshots.insert(number),
            };
        }
        (blobs, snapshots)
    }

    /// Whether these lead to it, so that what refers to them would be in a circle if it kept that.
    pub fn leads_to(&self, blobs: &[u32], to: Thing) -> bool {
        self.reached_from(blobs.iter().map(|number| Thing::Blob(*number)).collect()).contains(&to)
    }

    fn reached_from(&self, mut queue: Vec<Thing>) -> BTreeSet<Thing> {
        let mut reached = BTreeSet::new();
        while let Some(at) = queue.pop() {
            let blob = match at {
                Thing::Blob(number) => match self.blobs.get(&number) {
                    Some(blob) => Some(blob),
                    None => continue,
                },
                Thing::Snapshot(_) => None,
            };
            if !reached.insert(at) {
                continue;
            }
            if let Some(blob) = blob {
                queue.extend(blob.refs.iter().map(|to| Thing::Blob(*to)));
                queue.extend(blob.snapshots.iter().map(|to| Thing::Snapshot(*to)));
            }
            let kept = self.blobs.iter().filter(|(_, blob)| blob.keeper == Some(at));
            queue.extend(kept.map(|(number, _)| Thing::Blob(*number)));
        }
        reached
    }

    /// Whether a reference would make a circle through both kinds: no service could drop it whole,
    /// and so none does (docs/adr/0002-garbage-collection.md).
    pub fn is_circle(&self, from: u32, to: u32) -> bool {
        let reached = self.reached_from(vec![Thing::Blob(to)]);
        let through = reached.iter().any(|thing| matches!(thing, Thing::Snapshot(_)));
        reached.contains(&Thing::Blob(from)) && through
    }
}
