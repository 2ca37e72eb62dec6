//! What a client does next.

use std::collections::BTreeSet;

use crate::Story;
use crate::model::Thing;
use crate::operation::{Named, Operation, PASSING};
use crate::second::{End, Way};

/// The most leases at a time.
const LEASES: usize = 4;
/// The most blobs that the second namespace has too.
const SHARED: usize = 6;
/// One reference in so many is to something that perhaps nothing keeps.
const ADOPTION: u64 = 3;
/// When leases end that outlive the test.
const EXPIRIES: [&str; 2] = ["2999-01-01T00:00:00Z", "soon"];

impl Story {
    pub fn choose(&mut self) -> Operation {
        let number = self.next;
        self.next += 1;
        let kind = self.random.below(38);
        self.operation(kind, number).unwrap_or(Operation::Nothing)
    }

    /// `None` if there is nothing that it could be done with.
    fn operation(&mut self, kind: u64, number: u64) -> Option<Operation> {
        use Operation::*;
        Some(match kind {
            0 | 1 => {
                let all: Vec<_> = self.setting.images.iter().map(|i| i.reference.clone()).collect();
                Pull { reference: self.any(all)? }
            }
            2 => {
                let all: Vec<_> = self.setting.images.iter().map(|i| i.manifest.clone()).collect();
                Tag { name: format!("tag-{number}"), manifest: self.any(all)? }
            }
            3..=5 => {
                let name = self.any(self.model.images.keys().cloned().collect())?;
                RemoveImage { name, sync: self.random.below(4) == 0 }
            }
            6 | 7 => {
                let (lease, text) = (self.lease()?, self.text(number));
                let mut named = Named { conditions: self.snapshots(), ..self.description() };
                named.keepers.retain(|keeper| !self.model.leads_to(&named.conditions, keeper));
                Write { lease, text, named }
            }
            27 => Activate {
                lease: self.lease()?,
                name: format!("mount-{number}"),
                named: self.description(),
            },
            28 => Ingest { lease: self.lease()?, reference: format!("ingest-{number}") },
            29 => {
                let all: Vec<_> = self.setting.images.iter().map(|i| i.reference.clone()).collect();
                Import { reference: self.any(all)? }
            }
            30 => PassLease { id: format!("{PASSING}{number}"), held: self.held() },
            34 | 35 => self.share(number)?,
            36 | 37 => {
                let end = match self.random.below(3) {
                    0 => End::Deleted,
                    one => End::Lease { sync: one == 1 },
                };
                Unshare { blob: self.any(self.second.blobs())?, end }
            }
            // Most things that were used just now would be so for ever otherwise.
            31..=33 => self.relabel()?,
            8 | 9 => Prepare {
                lease: self.lease()?,
                key: format!("own-{number}"),
                parent: self.parent(),
                named: Named {
                    refs: self.references(1),
                    recent: self.random.below(2) == 0,
                    ..Named::default()
                },
            },
            10 => self.relabel()?,
            11 | 12 => {
                CreateContainer { id: format!("container-{number}"), refs: self.references(3) }
            }
            13 => UpdateContainer { id: self.container()?, refs: self.references(3) },
            14 => DeleteContainer { id: self.container()? },
            15 if self.model.leases.len() < LEASES => {
                let (flat, expiry) = (self.random.below(3) == 0, self.random.below(4));
                let expiry = EXPIRIES.get(expiry as usize).copied();
                CreateLease { id: format!("lease-{number}"), flat, expiry }
            }
            15 | 16 => DeleteLease { id: self.lease()?, sync: self.random.below(4) == 0 },
            20 => CreateSandbox { id: format!("sandbox-{number}"), refs: self.references(3) },
            21 => UpdateSandbox { id: self.sandbox()?, refs: self.references(3) },
            22 => DeleteSandbox { id: self.sandbox()? },
            24 | 25 => {
                let all: Vec<_> = self.setting.images.iter().map(|i| i.manifest.clone()).collect();
                let (lease, name) = (self.lease()?, format!("expired-{number}"));
                Expire { lease, name, manifest: self.any(all)? }
            }
            26 => {
                let open = |thing: &&Thing| {
                    let made = &self.model.made[*thing];
                    matches!(thing, Thing::Snapshot(_)) && made.own && !made.committed
                };
                let open = self.reached.iter().filter(open).cloned().collect();
                let (lease, key) = (self.lease()?, self.any(open)?);
                Commit { lease, key, name: format!("committed-{number}"), refs: self.references(1) }
            }
            // Whatever refers to it, also if nothing does and it may be gone.
            23 => {
                let own = self.model.made.iter().filter(|(_, made)| made.own && !made.committed);
                Remove { thing: self.any(own.map(|(thing, _)| thing.clone()).collect())? }
            }
            17 | 18 => {
                Hold { lease: self.lease()?, thing: self.thing().filter(Thing::can_be_held)? }
            }
            _ => {
                let lease = self.lease()?;
                let held = self.model.leases[&lease].iter();
                let held = held.filter(|thing| thing.can_be_held()).cloned().collect();
                Release { lease, thing: self.any(held)? }
            }
        })
    }

    /// That of a new blob, or of one that only the second namespace has by now, and that nothing names.
    fn text(&mut self, number: u64) -> String {
        let mut texts = self.second.texts();
        texts.retain(|text| {
            let blob = Thing::of_text(text);
            !self.model.made.contains_key(&blob) && !self.model.is_named(&blob)
        });
        self.any(texts).unwrap_or_else(|| format!("blob {number}"))
    }

    fn share(&mut self, number: u64) -> Option<Operation> {
        let held = self.second.blobs();
        let is_blob = |thing: &&Thing| matches!(thing, Thing::Blob(_)) && !held.contains(thing);
        let blobs = self.reached.iter().filter(is_blob).cloned().collect();
        let blob = self.any(blobs).filter(|_| held.len() < SHARED)?;
        let way = if self.random.below(2) == 0 { Way::Written } else { Way::Named };
        Some(Operation::Share { blob, way, number })
    }

    fn any<T>(&mut self, mut all: Vec<T>) -> Option<T> {
        let count = all.len() as u64;
        (count > 0).then(|| all.swap_remove(self.random.below(count) as usize))
    }

    fn lease(&mut self) -> Option<String> {
        self.any(self.model.leases.keys().cloned().collect())
    }

    fn sandbox(&mut self) -> Option<String> {
        self.any(self.model.sandboxes.keys().cloned().collect())
    }

    fn container(&mut self) -> Option<String> {
        self.any(self.model.containers.keys().cloned().collect())
    }

    /// Something to refer to.
    fn thing(&mut self) -> Option<Thing> {
        if self.random.below(ADOPTION) > 0 {
            return self.any(self.reached.iter().cloned().collect());
        }
        self.any(self.model.made.keys().cloned().collect())
    }

    fn references(&mut self, most: u64) -> BTreeSet<Thing> {
        let count = self.random.below(most + 1);
        (0..count).filter_map(|_| self.thing()).filter(Thing::can_be_named).collect()
    }

    /// What the labels of a new thing say.
    fn description(&mut self) -> Named {
        let (refs, mut keepers) = (self.references(2), self.references(1));
        keepers.retain(|keeper| keeper.can_keep() && !self.model.leads_to(&refs, keeper));
        Named { refs, keepers, ..Named::default() }
    }

    /// Snapshots to name in conditions.
    fn snapshots(&mut self) -> BTreeSet<Thing> {
        let mut found = self.references(3);
        found.retain(|thing| matches!(thing, Thing::Snapshot(_)));
        found
    }

    fn held(&mut self) -> BTreeSet<Thing> {
        let mut found = self.references(2);
        found.retain(Thing::can_be_held);
        found
    }

    fn relabel(&mut self) -> Option<Operation> {
        let made = &self.model.made;
        let own = self.reached.iter().filter(|thing| thing.can_be_labelled());
        let own = own.filter(|thing| made[*thing].own).cloned();
        let thing = self.any(own.collect())?;
        let (mut refs, mut conditions) = (self.references(2), self.snapshots());
        if matches!(thing, Thing::Snapshot(_)) {
            conditions.clear();
        }
        for to in [&mut refs, &mut conditions] {
            to.retain(|to| !self.model.is_circle(&thing, to));
        }
        let recent = matches!(thing, Thing::Snapshot(_)) && self.random.below(2) == 0;
        let named = Named { refs, conditions, recent, ..Named::default() };
        Some(Operation::Relabel { thing, named })
    }

    fn parent(&mut self) -> Option<Thing> {
        if self.random.below(2) == 0 {
            return None;
        }
        let made = self.model.made.iter();
        self.any(made.filter(|(_, made)| made.committed).map(|(thing, _)| thing.clone()).collect())
    }
}
